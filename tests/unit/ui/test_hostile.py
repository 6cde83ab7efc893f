"""A store in which anybody may have written: what is in it appears as text or as a sentence, and nothing falls over."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from starlette.testclient import TestClient

import tracelet
from tests.unit.ui import hostile
from tests.unit.ui.conftest import OURS
from tracelet.cli import main
from tracelet.store.run import Run
from tracelet.store.store import Store
from tracelet.ui.api.application import Service, application
from tracelet.ui.run_cache import RunCache
from tracelet.ui.security import AccessControl, AccessRules

COMMANDS = (["ls"], ["ls", "--json"], ["show", "r1"], ["show", "r1", "--all"], ["show", "r1", "--json"], ["time", "r1"],
            ["show", "r1", "--log"], ["compare", "r1", "r1"])  # fmt: skip


def client(store: Path) -> TestClient:
    """The API behind the gate, over a store that it must not change."""
    service = Service(Store(store), read_only=True)
    return TestClient(
        AccessControl(application(service), AccessRules()), base_url="http://127.0.0.1:8765", headers=OURS
    )


def asked(store: Path) -> Iterator[tuple[str, Any]]:
    """What the dashboard answers to every question of the API that changes nothing."""
    with client(store) as asking:
        for path, methods in asking.get("/api/openapi.json").json()["paths"].items():
            if "get" not in methods:
                continue
            address = path.replace("{run_id}", "r1").replace("{number}", "0")
            for query in ({}, {"x": "time", "ranks": "band"}, {"x": "epoch", "ranks": "lines"}, {"format": "csv"}):
                if query and path != "/api/series":
                    continue
                answer = asking.get(address, params={"run": "r1", "name": "loss", **query})
                yield f"{address} {query}", answer


def read_whole(run: Run) -> None:
    """All that the Python reader gives."""
    for name in run.metrics():
        for _ in (run.series(name), run.chart(name, 100), run.spread(name)):
            pass
    _ = (run.info, run.params, run.tags, run.git, run.environment, run.artifacts, run.deliveries, run.events())
    _ = (run.spans(), run.problems, run.status_record)
    run.to_dataframe()


def one(name: str, place: Sequence[Any], value: Any) -> list[hostile.Frame]:
    """A journal with one field that is not what it should be."""
    return hostile.journal({**hostile.RECORDS, name: hostile.replaced(hostile.RECORDS[name], place, value)})


def answered(root: Path) -> None:
    """Fails unless the reader, the API and the commands answer, and print nothing that a terminal obeys."""
    read_whole(tracelet.open_store(root).run("r1"))
    for question, answer in asked(root):
        assert answer.status_code in (200, 400, 404, 422), (question, answer.text[:500])
        assert answer.headers["x-content-type-options"] == "nosniff"
    for command in COMMANDS:
        result = CliRunner().invoke(main, [*command, "--dir", str(root)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code in (0, 1, 2)
        assert not set(result.output) & {"\x1b", "\x07", "\u202e"}, command


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(hostile.frames())
@example(one("started", ["time"], 2**63 - 1))
@example(one("started", ["rank"], 2**63))
@example(one("points", ["chunks", 0, 6], 2**63))
@example(one("points", ["chunks", 0, 1], -1))
@example(one("span", ["parent"], 2**64 - 1))
@example(one("facts:git", ["values", "remotes"], {1: 2}))
@example(one("facts:environment", ["values", "machine", "memory_bytes"], "much"))
@example(one("facts:environment", ["values", "packages"], True))
@example(one("console", ["lines", 0, 0], -(2**63)))
@example(one("console", ["lines", 0, 2], "\x1b]0;title\x07\x1b[2J\u202e"))
@example(one("event", ["attributes"], {"a": msgspec.msgpack.Ext(5, b"x"), "b": {(1, 2): b""}}))
@example([*hostile.journal(hostile.RECORDS), (5, b"\x91" * 100_000), (200, b"\xc1"), (77, {"new": 1})])
@example([*hostile.journal(hostile.RECORDS), *map(hostile.deep_facts, (51, 600, 900, 990))])
def test_wrong_types_anywhere_stop_nothing(frames: list[hostile.Frame]) -> None:
    """Whatever the fields of sound frames hold, the reader, the API and the commands answer, none with an error 500."""
    with tempfile.TemporaryDirectory() as root:
        hostile.write(Path(root) / "runs" / "r1", frames)
        answered(Path(root))


@pytest.mark.parametrize("name", [name for name in hostile.RECORDS if name != "started"])
def test_a_record_of_wrong_types_costs_itself_alone(tmp_path: Path, name: str) -> None:
    """Of a journal with one record whose fields all have wrong types, all else is read, and the record is told of."""
    wrong = dict.fromkeys(hostile.RECORDS[name], hostile.deep(3))
    hostile.write(tmp_path / "runs" / "r1", hostile.journal({**hostile.RECORDS, name: wrong}))
    run = tracelet.open_store(tmp_path).run("r1")
    assert any("is not a valid record" in problem for problem in run.problems)
    assert run.info.name == "one"
    assert run.metrics() == ([] if name == "points" else ["loss"])
    assert len(run.artifacts) == (name != "artifact")
    assert [*run.params] == ([] if name == "params" else ["lr", "text", "yes", "none"])


def test_a_run_goes_by_its_folder_whatever_its_journal_says(tmp_path: Path) -> None:
    """A copied run, or one whose journal bears the id of another or a path, is listed under its own folder's name."""
    for folder, said in (("a", "b"), ("b", "b"), ("c", "../../etc")):
        hostile.write(tmp_path / "runs" / folder, one("started", ["run"], said))
    rows = RunCache(Store(tmp_path)).rows()
    assert sorted(row.info.id for row in rows) == ["a", "b", "c"]


TRICKS = (
    "../../secret", "..\\..\\secret", "/etc/passwd", "a\0b", 'a"; filename="evil.html', "x\r\nSet-Cookie: a=b", "",
    "..", ".", "\u202elmth.x", "a/" * 500, "CON", "%2e%2e%2fsecret", hostile.MARKUP,
)  # fmt: skip


@pytest.mark.parametrize("digest", ["", "../../secret", "00" * 20, "ab" * 20])
@pytest.mark.parametrize("folder", [False, True])
def test_artifacts_lead_nowhere_else(tmp_path: Path, digest: str, folder: bool) -> None:
    """No name, path or digest of an artifact, nor of a file in a folder, brings a file from outside the run."""
    (tmp_path / "secret").write_text("the secret")
    artifact = {**hostile.RECORDS["artifact"], "digest": digest, "metadata": {"folder": folder}}
    named = [{**artifact, "name": name, "path": str(tmp_path / "secret")} for name in TRICKS]
    paths = [
        {**artifact, "name": "a", "path": path} for path in (*TRICKS, "/dev/zero", str(tmp_path), "../../../secret")
    ]
    frames = [(hostile.KIND["started"], hostile.STARTED), *((hostile.KIND["artifact"], one) for one in named + paths)]
    run = hostile.write(tmp_path / "runs" / "r1", frames).parent
    listing = run / "artifacts" / "ab" / ("ab" * 20)
    listing.parent.mkdir(parents=True)
    listing.write_text(json.dumps({"../../../secret": ["../../../../secret", 3], "a": "x", "c": ["cd" * 20, 1]}))
    with client(tmp_path) as asking:
        listed = asking.get("/api/runs/r1/artifacts")
        assert len(listed.json()["artifacts"]) == len(frames) - 1
        for number in range(len(frames) - 1):
            for name in ("", "../../../secret", "a", "c"):
                answer = asking.get(f"/api/runs/r1/artifacts/{number}", params={"name": name})
                assert "the secret" not in answer.text
                assert answer.status_code in (200, 404)
                assert "set-cookie" not in answer.headers
                disposition = answer.headers.get("content-disposition", "attachment")
                assert disposition.startswith("attachment")
                assert not set(disposition) & set("/\\\r\n<")


def test_texts_of_runs_are_never_sent_as_pages(tmp_path: Path) -> None:
    """With markup in every field, the API answers with JSON, or with files to be saved, and never with HTML."""
    texts = {name: filled(record) for name, record in hostile.RECORDS.items()}
    texts["facts:git"]["topic"], texts["started"]["role"] = "git", "rank"
    hostile.write(tmp_path / "runs" / "r1", hostile.journal(texts))
    for question, answer in asked(tmp_path):
        kind = answer.headers["content-type"]
        assert kind == "application/json" or answer.headers["content-disposition"].startswith("attachment"), question
    with client(tmp_path) as asking:
        assert hostile.MARKUP in asking.get("/api/runs/r1").json()["metrics"]


def filled(record: Any) -> Any:
    """The record with markup wherever there is a text."""
    if isinstance(record, dict):
        return {key: filled(value) for key, value in record.items()}
    if isinstance(record, tuple):
        return record  # a packed column, whose code is no text
    if isinstance(record, list):
        return [filled(value) for value in record]
    return hostile.MARKUP if isinstance(record, str) else record
