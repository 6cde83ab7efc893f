"""Follows the metric of a running trial in its journal, and reads only what was appended since.

Used by controllers on one thread. The journals of the leading rank count: with several ranks, a metric that is compared
during the training is reduced by the program. What cannot be read yet is read at the next look.
"""

from __future__ import annotations

from pathlib import Path

from tracelet.errors import JournalError
from tracelet.journal.column_packing import unpack_floats
from tracelet.journal.frames import Cursor
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.records import KIND_OF, Points
from tracelet.journal.run_folder import SUFFIX

LEADING_RANK = f"rank-0.*{SUFFIX}"


class MetricHistory:
    """The values of one metric of one run, in the order in which they were logged."""

    def __init__(self, run_folder: Path, metric: str) -> None:
        self._folder = run_folder
        self._metric = metric
        self._seen: dict[Path, tuple[int, Cursor]] = {}
        self.values: list[float] = []

    def refresh(self) -> bool:
        """Read what is new; whether there was anything."""
        before = len(self.values)
        for path in sorted(self._folder.glob(LEADING_RANK)):
            size, cursor = self._seen.get(path, (0, Cursor()))
            try:
                now = path.stat().st_size
                if now != size:
                    self._seen[path] = now, self._read(path, cursor)
            except (OSError, JournalError):  # being created, or replaced by its compacted form
                continue
        return len(self.values) > before

    def _read(self, path: Path, cursor: Cursor) -> Cursor:
        for frame in JournalReader(path).frames(cursor):
            cursor = frame.after
            if frame.kind == KIND_OF[Points]:
                for chunk in frame.chunks(self._metric):
                    self.values += unpack_floats(chunk.values, chunk.count).tolist()
        return cursor
