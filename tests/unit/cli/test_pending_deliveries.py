"""What is still owed to a backend, as `sync` and `doctor` see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call, Record
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Footer, Span, Started, Status
from tracelet.journal.records import Record as Entry
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact

OFF = {"delivery": "off", "track_system": False, "track_git": False, "track_env": False, "quiet": True}


def bring_rank_1(folder: Path, run: str) -> None:
    """The journal of another node, copied into the run's folder: one span."""
    first = Started(run=run, name="two", project="p", time=1, host="other", pid=1, rank=1, world_size=2)
    journal = JournalWriter.create(journal_path(folder, "rank-1", 0), redact)
    records: list[Entry] = [first, Span(id=1, name="of_rank_1", start_ns=5, duration_ns=3)]
    journal.append(records)
    journal.seal(
        Footer(
            started=first, status=Status(time=2, status="finished"), metrics=[], params={}, tags={},
            frames=journal.number, others=journal.others, points=journal.index(),
        )
    )  # fmt: skip
    journal.close()


@pytest.mark.parametrize(("backend", "wanted"), [("onelogger", True), ("jsonl", False)])
def test_what_another_rank_brings_later_is_owed_to_who_wants_it(
    record: Record, call: Call, backend: str, wanted: bool
) -> None:
    """A backend that asks for the spans of every rank gets those of a journal that comes after its delivery was done.

    To one that does not the run stays delivered.
    """
    run = record("two", {"loss": [1.0]}, config=OFF, backend=backend)
    assert "delivered" in call("sync", run.id).output
    assert "complete" in call("sync", run.id).output
    bring_rank_1(run.path, run.id)
    said = call("sync", run.id).output
    assert ("complete" in said) is not wanted
    (path,) = (run.path.parents[1] / backend).rglob("*.jsonl")
    assert ("of_rank_1" in path.read_text(encoding="utf-8")) is wanted
    assert "complete" in call("sync", run.id).output
