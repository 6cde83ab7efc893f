"""No record is too large for the readers of a journal, and one that would be costs nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracelet
from tracelet.capture import record_size
from tracelet.capture.record_size import fitting, split_values
from tracelet.journal.frames import MAX_FRAME_BYTES
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.records import Event, Notice, Params, Tags

QUIET = {"quiet": True, "track_system": False, "track_git": False, "track_env": False}


def test_small_values_stay_together() -> None:
    """What is small is one record, an empty mapping too; what is large is several, and nothing is lost."""
    assert list(split_values({})) == [{}]
    assert list(split_values({"a": 1, "b": "x"})) == [{"a": 1, "b": "x"}]
    large = {f"p{number}": "x" * 4000 for number in range(3000)}
    parts = list(split_values(large))
    assert len(parts) > 1
    assert {name: value for part in parts for name, value in part.items()} == large


def test_what_can_be_split_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters and tags are halved until each part fits; one value that does not fit is dropped with a notice."""
    monkeypatch.setattr(record_size, "MAX_BYTES", 1000)
    values = {f"p{number}": "x" * 100 for number in range(50)}
    parts = list(fitting(Params(time=1, values={**values, "huge": "y" * 2000}, source="user")))
    params = [part for part in parts if isinstance(part, Params)]
    assert {name: value for part in params for name, value in part.values.items()} == values
    assert {part.source for part in params} == {"user"}
    (notice,) = (part for part in parts if isinstance(part, Notice))
    assert (notice.code, notice.count) == ("size", 1)
    assert len(list(fitting(Tags(time=1, values=dict.fromkeys(values, "x" * 100))))) > 5
    assert [type(part) for part in fitting(Event(time=1, name="e", attributes={"x": "y" * 2000}))] == [Notice]


@pytest.mark.slow
def test_recording_goes_on_after_a_record_that_is_too_large(tmp_path: Path) -> None:
    """Many long parameters and an event beyond what a frame holds: each point, parameter and the status are there."""
    with tracelet.start_logging("big", config=QUIET) as run:
        run.log_metric("loss", 0.5, step=0)
        run.log_params({f"p{number}": f"{number}" + "x" * 4000 for number in range(3_000)})
        run._writer.emit(Event(time=1, name="e", attributes={"x": "y" * (MAX_FRAME_BYTES + 1)}))
        for step in range(1, 1001):
            run.log_metric("loss", 0.5, step=step)
    found = tracelet.open_store(tmp_path / ".tracelet").run("latest")
    assert len(found.series("loss")) == 1001
    assert found.info.status == "finished"
    assert len(found.params) == 3_000
    assert any("was dropped" in problem for problem in found.problems)
    assert max(len(frame.payload) for frame in JournalReader(found.path / "rank-0.0.tlj").frames()) < MAX_FRAME_BYTES
