"""Merges the branches of a resumed run's series: steps that were trained again replace the abandoned ones.

Read side, used by `Run`. A branch is everything recorded by the processes of one launch. A later branch ends the
earlier ones at the step from which its training resumed, according to Lightning's checkpoint; if that is unknown
(metrics that the program logs itself), at the first step that it recorded of the metric. Fits are identified by their
number, because a restarted program numbers them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from tracelet.journal.journal_view import JournalView
from tracelet.journal.records import Event
from tracelet.store.series import Series, join

RESUMED_EVENT = "training_resumed"
"""The event with the step from which a training resumed."""
FIT_STAGES = ("train", "validate")
"""The stages of a fit, which share its steps."""
ResumeSteps = Mapping[tuple[int, int], int]
"""(branch, number of the fit) -> the step from which it resumed"""


class BranchSeries(NamedTuple):
    """The part of a series that one branch recorded."""

    branch: int
    series: Series


def is_single_branch(views: Iterable[JournalView], latest: int | None = None) -> bool:
    """Whether the points of these journals are valid as recorded: of one rank, and none superseded.

    `latest`: the run's last branch, if that of these journals may be an earlier one.
    """
    found = {(_rank(view), _branch(view)) for view in views}
    return len(found) <= 1 and all(latest is None or branch >= latest for _, branch in found)


def by_rank(views: Iterable[JournalView]) -> list[list[JournalView]]:
    """The journals of each rank, by attempt."""
    ordered = sorted(views, key=lambda view: (_rank(view), _attempt(view)))
    return [list(group) for _, group in groupby(ordered, key=_rank)]


def series_by_branch(
    views: Sequence[JournalView], read: Callable[[Sequence[JournalView]], Series]
) -> list[BranchSeries]:
    """The part of a series that each branch recorded on one rank; `read` makes a series of journals."""
    grouped = groupby(sorted(views, key=lambda view: (_branch(view), _attempt(view))), key=_branch)
    return [BranchSeries(branch, read(list(group))) for branch, group in grouped]


def resume_steps(views: Iterable[JournalView]) -> dict[tuple[int, int], int]:
    """The steps from which trainings resumed."""
    found: dict[tuple[int, int], int] = {}
    for view in views:
        if _branch(view):
            for event in view.records(Event):
                step, fit = event.attributes.get("step"), event.attributes.get("fit")
                if event.name == RESUMED_EVENT and isinstance(step, int) and isinstance(fit, int):
                    found[_branch(view), fit] = step
    return found


def merge_branches(found: Sequence[BranchSeries], upto: int | None, resumed_at: ResumeSteps) -> Series:
    """One series of the pieces: as it stood when the branch `upto` was the last one, or as it stands now.

    A branch that resumed before the last points of the metric supersedes them, whether or not it recorded it again.
    """
    kept: list[Series] = []
    nothing = found[0].series.only(stage="\0")
    recorded = {piece.branch: piece for piece in found}
    for branch in sorted({*recorded, *(branch for branch, _ in resumed_at)}):
        if upto is None or branch <= upto:
            piece = recorded.get(branch, BranchSeries(branch, nothing))
            kept = [_drop_superseded(series, piece, resumed_at) for series in kept]
            kept += [piece.series] if branch in recorded else []
    kept = kept or [nothing]
    return kept[0] if len(kept) == 1 else join(kept)


def _drop_superseded(series: Series, later: BranchSeries, resumed_at: ResumeSteps) -> Series:
    """The points of a series that a later branch has not superseded."""
    import numpy as np

    first: dict[tuple[str, int], int] = {}
    for segment in later.series.segments:
        place = segment.stage, segment.fit
        smallest = int(later.series.steps[segment.start : segment.stop].min())
        first[place] = min(first.get(place, smallest), smallest)
    kept = np.ones(len(series), dtype=np.bool_)
    for segment in series.segments:
        cut = first.get((segment.stage, segment.fit))
        resumes = segment.stage in FIT_STAGES or not segment.fit  # an imported run has no fits, and all of it resumed
        start = resumed_at.get((later.branch, segment.fit)) if resumes else None
        if start is not None:
            cut = start if cut is None else min(cut, start)
        if cut is not None:
            kept[segment.start : segment.stop] = series.steps[segment.start : segment.stop] < cut
    return series if kept.all() else series.at(np.flatnonzero(kept))


def _rank(view: JournalView) -> int:
    return view.started.rank if view.started else 0


def _attempt(view: JournalView) -> int:
    return view.started.attempt if view.started else 0


def _branch(view: JournalView) -> int:
    return view.started.branch if view.started else 0
