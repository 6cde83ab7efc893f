"""What lists tell of a run's metrics: the figures of its series, wherever these are to be had quickly."""

from __future__ import annotations

import math
import os
from pathlib import Path

import msgspec
import pytest

from tests.journals import gone, points, started, write
from tracelet.journal.records import FINISHED, Event, Record, Status
from tracelet.store import exact_summaries, summaries
from tracelet.store.run import Run

OVER = Status(time=9, status=FINISHED)


def two_ranks(folder: Path, *more: Record) -> Path:
    """A run whose mean over ranks is 6, 1, 2; its least and greatest are those of no rank."""
    write(folder, started(), points("loss", [4.0, 2.0, 1.0]), points("alone", [5.0, math.nan]), *more)
    write(folder, started(rank=1), points("loss", [8.0, 0.0, 3.0]), *more)
    return folder


def told(run: Run) -> list[str]:
    """All figures as text, in which a NaN equals a NaN."""
    return [repr(summary) for _, summary in sorted(run.summaries().items())]


def test_a_summary_is_that_of_the_series(tmp_path: Path) -> None:
    """Of several ranks the reduced values count, each step once, as `series` has them; of one rank nothing is read."""
    run = Run(two_ranks(tmp_path / "r1"))
    assert run.series("loss").values.tolist() == [6.0, 1.0, 2.0]
    found = run.summary("loss")
    assert (found.count, found.last, found.last_step, found.last_time) == (3, 2.0, 2, 3_000_000)
    assert (found.min, found.min_step, found.max, found.max_step) == (1.0, 1, 6.0, 0)
    assert msgspec.structs.astuple(run.summary("alone"))[:2] == ("alone", 2) and run.summary("alone").max == 5.0
    with pytest.raises(KeyError, match="none"):
        run.summary("none")


def test_what_a_resumption_abandoned_does_not_count(tmp_path: Path) -> None:
    """A summary is of what stands: what was trained again took the place of the first attempt's values."""
    write(tmp_path / "r1", started(pid=gone()), points("loss", [4.0, -9.0, 9.0]))
    resumed = Event(time=5, name="training_resumed", attributes={"step": 1})
    write(tmp_path / "r1", started(attempt=1, branch=1), resumed, points("loss", [3.0, 2.0], step=1, second=7.0))
    run = Run(tmp_path / "r1")
    assert run.series("loss").values.tolist() == [4.0, 3.0, 2.0]
    assert (run.summary("loss").count, run.summary("loss").min, run.summary("loss").max) == (3, 2.0, 4.0)


def test_exact_summaries_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept when the run was over is what a list has; no point is read for that."""
    run = Run(two_ranks(tmp_path / "r1", OVER))
    assert run.summaries()["loss"].count == 6
    exact_summaries.write_summaries(run)
    exact = [repr(run.summary(name)) for name in ("alone", "loss")]
    assert told(run) == exact
    monkeypatch.setattr(Run, "summary", lambda run, name: pytest.fail("points were read"))
    assert told(Run(run.path)) == exact
    exact_summaries.write_summaries(run)
    assert [path.name for path in run.path.glob("*.msgpack")] == [summaries.FILE_NAME]


@pytest.mark.parametrize("at_once", [1, 7, 4_000_000])
def test_exact_summaries_do_not_depend_on_how_much_is_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """However few metrics are read at a time, and nothing of them is held afterwards."""
    more = [points(f"m{number}", [float(number), -1.0]) for number in range(5)]
    run = Run(two_ranks(tmp_path / "r1", *more, OVER))
    exact = sorted(repr(run.summary(name)) for name in run.metrics())
    monkeypatch.setattr(exact_summaries, "MAX_POINTS", at_once)
    exact_summaries.write_summaries(run)
    assert sorted(told(run)) == exact
    write(run.path, started(rank=0, attempt=1), points("loss", [1.0], step=9))
    run.refresh()
    assert run.summary("loss").count == 4


def test_nothing_is_written_for_a_running_run(tmp_path: Path) -> None:
    """It would not count for long; whoever ends last does it, unless told to leave."""
    run = Run(two_ranks(tmp_path / "r1"))
    exact_summaries.write_summaries(run)
    over = Run(two_ranks(tmp_path / "r2", OVER))
    exact_summaries.write_summaries(over, give_up=lambda: True)
    assert not [*run.path.glob("*.msgpack"), *over.path.glob("*.msgpack")]


def test_exact_summaries_of_fewer_points_do_not_count(tmp_path: Path) -> None:
    """A run that is resumed has more points than it had; then they are worked out anew."""
    run = Run(two_ranks(tmp_path / "r1", OVER))
    exact_summaries.write_summaries(run)
    write(run.path, started(rank=1, attempt=1), points("loss", [9.0], step=3), OVER)
    run.refresh()
    assert run.summaries()["loss"].count == 7
    exact_summaries.write_summaries(run)
    assert run.summaries()["loss"] == run.summary("loss")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"nonsense", msgspec.msgpack.encode({"extent": 1}), msgspec.msgpack.encode({"metrics": [[1]]}),
        b"\x82\xa6extent\x80\xa7metrics\x91\x9a\xa1\xff" + bytes(9), b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0",
    ],
    ids=["empty", "no msgpack", "no map", "no summary", "no UTF-8", "nested"],
)  # fmt: skip
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """Whoever wrote it: lists have what the journals tell, and the figures are worked out."""
    run = Run(two_ranks(tmp_path / "r1", OVER))
    (run.path / summaries.FILE_NAME).write_bytes(content)
    assert run.summaries()["loss"].count == 6
    exact_summaries.write_summaries(run)
    assert run.summaries()["loss"].count == 3


def test_what_is_no_file_counts_as_none_too(tmp_path: Path) -> None:
    """A pipe of that name keeps nobody waiting."""
    run = Run(two_ranks(tmp_path / "r1"))
    os.mkfifo(run.path / summaries.FILE_NAME)
    assert run.summaries()["loss"].count == 6


def test_only_metrics_of_the_journals_are_told(tmp_path: Path) -> None:
    """Whatever else somebody has put into the file."""
    run = Run(two_ranks(tmp_path / "r1", OVER))
    exact_summaries.write_summaries(run)
    kept = msgspec.msgpack.decode((run.path / summaries.FILE_NAME).read_bytes(), type=summaries.SummaryFile)
    ghost = msgspec.structs.replace(kept.metrics[0], name="ghost")
    (run.path / summaries.FILE_NAME).write_bytes(
        msgspec.msgpack.encode(summaries.SummaryFile(kept.counts, [*kept.metrics, ghost]))
    )
    assert sorted(run.summaries()) == run.metrics()


def test_nothing_is_written_for_a_single_branch(tmp_path: Path) -> None:
    """Footers tell all there is to know of a run of one process."""
    write(tmp_path / "r1", started(), points("loss", [1.0]), OVER)
    exact_summaries.write_summaries(Run(tmp_path / "r1"))
    assert not (tmp_path / "r1" / summaries.FILE_NAME).exists()
