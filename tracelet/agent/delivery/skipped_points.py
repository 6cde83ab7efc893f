"""Decides which points of a journal are not delivered as they are: those of several ranks, and steps of an earlier
branch.

Once a process became one of several ranks, its points are aggregated; steps that an earlier branch of a resumed run
reached have been delivered. Used by `batch_reader` on a courier's thread. Reads only, without numpy.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tracelet.errors import JournalError
from tracelet.journal.column_packing import INT64_MIN, list_integers
from tracelet.journal.frames import Cursor
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.records import KIND_OF, Points, Started


class SkippedPoints:
    """Reads each journal once, as far as needed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Cursor, int | None]] = {}

    def several_ranks_since(self, path: Path, cursor: Cursor) -> int | None:
        """The frame before the cursor from which on the process knew that it was one of several ranks, if it did."""
        scanned, known = self._known.get(path.name, (Cursor(), None))
        if known is not None or scanned.number >= cursor.number:
            return known
        for frame in JournalReader(path).frames(scanned):
            if frame.number >= cursor.number or known is not None:
                break
            scanned = frame.after
            if frame.kind == KIND_OF[Started]:
                with suppress(JournalError):  # damaged: the next one may have it
                    record = frame.record()
                    known = frame.number if isinstance(record, Started) and record.world_size > 1 else None
        self._known[path.name] = scanned, known
        return known


def last_steps(paths: Iterable[Path]) -> dict[tuple[str, str, int], int]:
    """The maximum step of each (name, stage, fit) in these journals."""
    found: dict[tuple[str, str, int], int] = {}
    for path in paths:
        for frame in JournalReader(path).frames():
            with suppress(JournalError):  # damaged: it was not delivered either
                record = frame.record()
                for chunk in record.chunks if isinstance(record, Points) else ():
                    key = chunk.name, chunk.stage, chunk.fit
                    found[key] = max(*list_integers(chunk.steps, chunk.count), found.get(key, INT64_MIN))
    return found
