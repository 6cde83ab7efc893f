"""Which journals of a run hold a metric, and its chunks in them. Used by `Run`, on the reading side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tracelet.journal.journal_view import JournalView
from tracelet.journal.records import Chunk
from tracelet.store.series import Origin


def holding(run_id: str, views: Sequence[JournalView], name: str, rank: int | None) -> list[JournalView]:
    """The journals that have the metric: of one rank, of all, or of the first node if it is of the machine.

    KeyError if there is none.
    """
    views = [view for view in views if name in view.metrics]
    ranks = {view.started.rank for view in views if view.started}
    if not ranks or (rank is not None and rank not in ranks):
        raise KeyError(f"run {run_id} has no metric {name!r}" + ("" if rank is None else f" of rank {rank}"))
    trained = [view for view in views if view.started and view.started.role == "rank"]
    if rank is None and trained:
        return trained
    return [view for view in views if view.started and view.started.rank == (min(ranks) if rank is None else rank)]


def chunks(name: str, views: Sequence[JournalView], checked: bool = False) -> Iterator[tuple[Origin, Chunk]]:
    """The chunks of a metric, in order; `checked` omits those whose columns are damaged."""
    for view in views:
        assert view.started is not None  # a run lists no others
        origin = Origin(view.started.rank, view.started.attempt)
        yield from ((origin, chunk) for chunk in view.chunks(name) if not checked or view.sound(chunk))
