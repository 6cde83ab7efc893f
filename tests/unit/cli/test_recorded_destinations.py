"""A store that somebody else made: where it says to deliver, and what of that counts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.journals import finish, gone, points, started
from tests.unit.cli.conftest import Call
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact
from tracelet.session.run_origin import signed

TOKEN = "a-token-for-the-own-server-4711"


def foreign_run(folder: Path, own: bool = False, **backends: dict[str, Any]) -> Path:
    """A run of somebody else in the default store, which names these backends; `own`: of this user."""
    run = folder / ".tracelet" / "runs" / "r1"
    run.mkdir(parents=True)
    first = started(backends=backends, folder=str(folder / "elsewhere"), pid=gone(), world_size=1)
    first = signed(first) if own else first
    journal = JournalWriter.create(journal_path(run, "rank-0", 0), redact)
    journal.append([first, points("loss", [1.0, 2.0])])
    finish(journal, first)
    return run


@contextmanager
def listener() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers nothing of use, and keeps the headers of what it is asked."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            seen.append(dict(self.headers))
            self.send_error(400)

        do_GET = do_POST = _answer  # noqa: N815  the names that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_no_token_goes_to_an_address_that_only_a_foreign_run_names(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sync` and `doctor` do not contact it; with `--trust`, `sync` does, without the credentials of this user."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={TOKEN}")
    monkeypatch.setenv("TRACELET_API_KEY", TOKEN)
    with listener() as (address, seen):
        foreign_run(tmp_path, otlp={"url": address})
        told = call("sync", code=1).output
        assert f"records url '{address}', which your settings do not name" in told and "--trust" in told
        assert "your settings do not name" in call("doctor", code=1).output
        assert seen == []
        call("sync", "--trust", "--patience", "5")
        assert TOKEN not in json.dumps(seen)


def test_an_address_that_the_settings_name_too_counts(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same address in the environment of the client is enough."""
    foreign_run(tmp_path, otlp={"url": "http://127.0.0.1:9/"})
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert "do not name" not in call("sync", "--patience", "5").output


@pytest.mark.parametrize("trust", [(), ("--trust",)])
def test_no_file_outside_a_foreign_store_is_written(tmp_path: Path, call: Call, trust: tuple[str, ...]) -> None:
    """Neither at a recorded path nor through a link; the user's own choice of a backend works."""
    target = tmp_path / "profile"
    target.write_text("mine\n")
    run = foreign_run(tmp_path, jsonl={"path": str(target)})
    assert "outside the store" in call("sync", *trust, code=1).output
    assert target.read_text() == "mine\n"
    outside = tmp_path / "outside"
    outside.mkdir()
    (run / "delivery").symlink_to(outside)
    assert "is a link to a place outside the store" in call("sync", "r1", "--backend", "jsonl", *trust, code=1).output
    (run / "delivery").unlink()
    assert "2 points delivered" in call("sync", "r1", "--backend", "jsonl", *trust).output
    assert list(outside.iterdir()) == []


def test_a_recorded_path_inside_the_store_counts(tmp_path: Path, call: Call) -> None:
    """A foreign run may say where in its own store its lines go, and not by way of `..`."""
    store = tmp_path / ".tracelet"
    foreign_run(tmp_path, jsonl={"path": str(store / "mine.jsonl")})
    assert "2 points delivered" in call("sync").output
    assert (store / "mine.jsonl").exists()


@pytest.mark.parametrize("trust", [(), ("--trust",)])
def test_no_class_that_a_foreign_run_names_is_imported(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, trust: tuple[str, ...]
) -> None:
    """Its module stays unloaded, whatever the user confirms, until the settings name the class."""
    (tmp_path / "recorded_class.py").write_text("from tests.probes.probe_backend import ProbeBackend\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "recorded_class", raising=False)
    foreign_run(tmp_path, probe={"class": "recorded_class:ProbeBackend"})
    assert "which is not imported" in call("sync", *trust, code=1).output
    assert "recorded_class" not in sys.modules
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.tracelet.probe]\nclass = "recorded_class:ProbeBackend"\nfolder = "{tmp_path}"\n'
    )
    assert "2 points delivered" in call("sync", *trust).output


def test_what_this_user_recorded_counts(tmp_path: Path, call: Call) -> None:
    """A run of this user is delivered to the path that it records, with nothing to confirm."""
    (tmp_path / "elsewhere").mkdir()
    foreign_run(tmp_path, own=True, jsonl={"path": "lines.jsonl"})
    assert "2 points delivered" in call("sync").output
    assert (tmp_path / "elsewhere" / "lines.jsonl").exists()


def test_the_folder_that_a_foreign_delivery_remembers_is_not_written_to(tmp_path: Path, call: Call) -> None:
    """TensorBoard's files stay in the store when the delivery's state names another folder."""
    run = foreign_run(tmp_path, tensorboard={})
    (run / "delivery").mkdir()
    state = {"backend": "tensorboard", "memory": {"folder": str(tmp_path / "outside")}}
    (run / "delivery" / "tensorboard.json").write_text(json.dumps(state))
    call("sync")
    assert not (tmp_path / "outside").exists()
    assert list((tmp_path / ".tracelet" / "tensorboard").rglob("events.*"))
