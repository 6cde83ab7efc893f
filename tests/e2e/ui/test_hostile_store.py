"""A store full of hostile texts and wrong types, and 10,000 runs, in a real browser; strangers at the server's door."""

from __future__ import annotations

import http.client
import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from tests.e2e.ui.browser import Page, left_in_peace, served
from tests.unit.ui import hostile
from tests.unit.ui.test_hostile import filled

pytestmark = pytest.mark.slow

TABS = ("overview", "metrics", "system", "time", "log", "artifacts", "deliveries")
MANY = 10_000
WRONG: tuple[tuple[str, list[Any], Any], ...] = (
    ("facts:git", ["values", "diff"], [hostile.MARKUP]), ("facts:environment", ["values", "packages"], "none"),
    ("event", ["attributes"], {"a": {1: [None, {}]}}), ("artifact", ["metadata"], {"folder": 7, "score": [1]}),
    ("started", ["time"], 2**63 - 1), ("started", ["command"], []), ("points", ["chunks", 0, 1], -3),
    ("spans", ["starts"], ("q", 2**63 - 1, b"\xff" * 8)), ("params", ["values", "lr"], 2**64 - 1),
    ("status", ["status"], f"x {hostile.MARKUP}"),
)  # fmt: skip
"""One wrong field for each of so many runs."""
ADDRESSES = ("/", "/api/runs", "/api/docs", "/assets/tracelet.css", "/_nicegui_ws/socket.io/?EIO=4&transport=polling")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs: `markup` has it in every text, `wrong0` ... a wrong field each, and one is no journal at all."""
    root = tmp_path_factory.mktemp("hostile") / ".tracelet"
    texts = {name: filled(record) for name, record in hostile.RECORDS.items()}
    texts["facts:git"]["topic"], texts["facts:environment"]["topic"], texts["started"]["role"] = (
        "git",
        "environment",
        "rank",
    )
    run = hostile.write(root / "runs" / "markup", hostile.journal(texts)).parent
    (run / "delivery").mkdir()
    delivery = {"backend": hostile.MARKUP, "state": hostile.MARKUP, "url": "javascript:window.hacked=1", "points": 2,
                "error": hostile.MARKUP, "fix": hostile.MARKUP}  # fmt: skip
    (run / "delivery" / "mlflow.json").write_text(json.dumps(delivery))
    (run / "annotations.json").write_text(
        json.dumps({"name": hostile.MARKUP, "tags": {hostile.MARKUP: hostile.MARKUP}})
    )
    for number, (name, place, value) in enumerate(WRONG):
        record = hostile.replaced(hostile.RECORDS[name], place, value)
        hostile.write(root / "runs" / f"wrong{number}", hostile.journal({**hostile.RECORDS, name: record}))
    (root / "runs" / "noise").mkdir()
    (root / "runs" / "noise" / "rank-0.0.tlj").write_bytes(os.urandom(5000))
    return root


@pytest.fixture(scope="module")
def address(driver: WebDriver, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """The dashboard over them."""
    with served(folder, environment) as found:
        yield found
        left_in_peace(driver)


def test_texts_and_wrong_types_do_nothing(page: Page) -> None:
    """Every page of every such run shows itself, with the texts as texts; no script runs and nothing is thrown."""
    paths = ["/", "/?group=project", "/?group=status", "/compare?run=markup&run=wrong0", "/run/noise"]
    paths += [f"/run/markup?tab={tab}" for tab in TABS]
    paths += [f"/run/wrong{number}?tab={tab}" for number in range(len(WRONG)) for tab in ("overview", "log")]
    paths += ["/run/wrong3?tab=artifacts", "/run/wrong7?tab=time", "/run/wrong6?tab=metrics"]
    for path in paths:
        page.open(path)
        page.run("for (const details of document.querySelectorAll('details')) details.open = true")
        assert page.run("return window.hacked") is None, path
        assert page.run("return document.querySelectorAll('img[src=x], a[href^=javascript]').length") == 0, path
        assert page.problems() == [], path
        if path.startswith("/run/markup"):
            assert hostile.MARKUP in page.text(), path
    page.open("/run/markup")
    page.run("for (const details of document.querySelectorAll('details')) details.open = true")
    page.until("document.querySelector('.tl-diff')?.innerText.includes('<script>')")
    assert page.run("return window.hacked") is None


def test_strangers_are_turned_away(address: str) -> None:
    """The running server answers no foreign name, no other origin, websockets included, and no bare change."""
    where = urllib.parse.urlsplit(address)
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip

    def status(method: str, path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers={"Host": where.netloc, **given})
            return connection.getresponse().status
        finally:
            connection.close()

    for path in ADDRESSES:
        assert status("GET", path) == 200
        assert status("GET", path, Host="evil.example") == 421
        assert status("GET", path, Origin="http://evil.example") == 403
    socket = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    assert status("GET", socket, **upgrade, Origin=address.rstrip("/")) == 101
    assert status("GET", socket, **upgrade, Origin="http://evil.example") == 403
    assert status("GET", socket, **upgrade, Host="evil.example") in (403, 421)
    for method in ("POST", "PATCH", "DELETE", "PUT"):
        assert status(method, "/api/runs/wrong0?confirm=wrong0") == 403
        assert status(method, "/api/runs/wrong0?confirm=wrong0", X_Tracelet="1", Origin="http://evil.example") == 403
    assert status("GET", "/api/runs/wrong0") == 200


def test_ten_thousand_runs_are_a_list_of_which_few_are_drawn(
    driver: WebDriver, tmp_path: Path, environment: dict[str, str]
) -> None:
    """The list has all of them and draws those in sight; the last one is found by its name and by scrolling."""
    sealed = [
        *hostile.journal(hostile.RECORDS),
        (hostile.KIND["footer"], hostile.footer(hostile.RECORDS, {"lr": 0.1}, 3)),
    ]
    first = hostile.write(tmp_path / ".tracelet" / "runs" / "r00000", sealed)
    content = first.read_bytes()
    for number in range(1, MANY):
        path = first.parents[1] / f"r{number:05}" / first.name
        path.parent.mkdir()
        path.write_bytes(content)
    with served(tmp_path / ".tracelet", environment) as address:
        page = Page(driver, address)
        page.open("/")
        page.until(f"document.querySelector('.tl-count').innerText === '{MANY:,}'", 120)
        assert 5 < page.until("document.querySelectorAll('.ag-center-cols-container .ag-row').length") < 100
        page.run("const view = document.querySelector('.ag-body-viewport'); view.scrollTop = view.scrollHeight")
        page.until(f"document.querySelector('.ag-row[row-index=\"{MANY - 1}\"]')")
        assert page.run("return document.querySelectorAll('.ag-center-cols-container .ag-row').length") < 100
        page.open("/?filter=r09999")
        page.until("document.querySelector('.tl-count').innerText.startsWith('1 of')", 60)
        assert page.problems() == []
        left_in_peace(driver)
