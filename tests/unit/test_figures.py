"""What lists tell of a run's metrics: the figures of its series, wherever these are to be had quickly."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from tests.journals import gone, points, started, write
from tracelet import figures
from tracelet.records import Event
from tracelet.run import Run


def two_ranks(folder: Path) -> Path:
    """A run whose mean over ranks is 6, 1, 2; its least and greatest are those of no rank."""
    write(folder, started(), points("loss", [4.0, 2.0, 1.0]), points("alone", [5.0, math.nan]))
    write(folder, started(rank=1), points("loss", [8.0, 0.0, 3.0]))
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
    assert (found.least, found.least_step, found.greatest, found.greatest_step) == (1.0, 1, 6.0, 0)
    assert msgspec.structs.astuple(run.summary("alone"))[:2] == ("alone", 2) and run.summary("alone").greatest == 5.0
    with pytest.raises(KeyError, match="none"):
        run.summary("none")


def test_what_a_resumption_abandoned_does_not_count(tmp_path: Path) -> None:
    """A summary is of what stands: what was trained again took the place of the first attempt's values."""
    write(tmp_path / "r1", started(pid=gone()), points("loss", [4.0, -9.0, 9.0]))
    resumed = Event(time=5, name="training_resumed", attributes={"step": 1})
    write(tmp_path / "r1", started(attempt=1, branch=1), resumed, points("loss", [3.0, 2.0], step=1, second=7.0))
    run = Run(tmp_path / "r1")
    assert run.series("loss").values.tolist() == [4.0, 3.0, 2.0]
    assert (run.summary("loss").count, run.summary("loss").least, run.summary("loss").greatest) == (3, 2.0, 4.0)
    assert run.summaries()["loss"] == run.summary("loss")


def test_a_list_has_the_figures_of_the_series(tmp_path: Path) -> None:
    """Also of several ranks and of a resumed run, while it goes on, as long as there are few points."""
    run = Run(two_ranks(tmp_path / "r1"))
    assert told(run) == [repr(run.summary(name)) for name in ("alone", "loss")]


def test_figures_are_worked_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept when the training ended is what a list has, however many points there are."""
    run = Run(two_ranks(tmp_path / "r1"))
    exact = told(run)
    monkeypatch.setattr(figures, "FEW", 0)
    assert run.summaries()["loss"].count == 6
    figures.keep(run)
    assert told(run) == exact
    monkeypatch.setattr(Run, "summary", lambda run, name: pytest.fail("points were read"))
    assert told(Run(run.path)) == exact
    figures.keep(run)
    assert [path.name for path in run.path.glob("figures*")] == [figures.NAME]


def test_figures_of_fewer_points_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on, or is resumed, has more points than it had; then they are worked out anew."""
    run = Run(two_ranks(tmp_path / "r1"))
    figures.keep(run)
    write(run.path, started(rank=1, attempt=1), points("loss", [9.0], step=3))
    monkeypatch.setattr(figures, "FEW", 0)
    run.refresh()
    assert run.summaries()["loss"].count == 7
    figures.keep(run)
    assert run.summaries()["loss"] == run.summary("loss")


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", msgspec.msgpack.encode({"extent": 1}), msgspec.msgpack.encode({"metrics": [[1]]})]
)
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """Whoever wrote it: the figures are worked out, and kept anew."""
    run = Run(two_ranks(tmp_path / "r1"))
    exact = told(run)
    (run.path / figures.NAME).write_bytes(content)
    assert told(run) == exact
    figures.keep(run)
    assert (run.path / figures.NAME).read_bytes() != content


def test_nothing_is_kept_of_one_line(tmp_path: Path) -> None:
    """Footers tell all there is to know of a run of one process."""
    write(tmp_path / "r1", started(), points("loss", [1.0]))
    figures.keep(Run(tmp_path / "r1"))
    assert not (tmp_path / "r1" / figures.NAME).exists()
