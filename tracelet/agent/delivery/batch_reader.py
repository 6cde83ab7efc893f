"""Reads a run's journals from cursors and builds the batches that backends receive. Used by one courier, on its thread.

A batch covers a range of one journal. The range is saved before the batch is delivered, so that a repeated batch is
identical. Reads only, and without numpy, so that the agent stays small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tracelet.agent.delivery.batch_parts import FILES, POINTS, BatchParts
from tracelet.agent.delivery.rank_aggregation import STEM, aggregates
from tracelet.agent.delivery.skipped_points import SkippedPoints, last_steps
from tracelet.backends.base import Batch, Source
from tracelet.journal.frames import Cursor
from tracelet.journal.journal_reader import JournalReader, first_record
from tracelet.journal.records import (
    Started,
)
from tracelet.journal.run_folder import SUFFIX
from tracelet.store import delivery_state
from tracelet.store.delivery_state import Pending

MAX_POINTS = 5000
"""A batch ends with the frame that reaches this size: a request or two for most backends."""
MAX_FRAMES = 200
MOST_FILE_FRAMES = 5000
"""For file batches: most frames contain points and are skipped."""
MAX_BYTES = 1024 * 1024

Cursors = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class JournalSlice:
    """A batch, and the range of a journal that it covers. Without a batch: a range with nothing to deliver."""

    pending: Pending
    batch: Batch | None
    damage: tuple[str, ...] = ()


class BatchReader:
    """The ranges of a run's journals that one backend does not have yet."""

    def __init__(self, folder: Path, files: bool = False) -> None:
        self.folder = folder
        self._files = files
        """Whether it reads only records that can become files."""
        self.every_rank = False
        """Whether it also reads the spans of ranks other than the leading one."""
        self._started: dict[str, Started] = {}
        self._exhausted: dict[str, tuple[int, int]] = {}
        self._skipped = SkippedPoints()
        self._last_steps: dict[int, dict[tuple[str, str, int], int]] = {}

    def next(self, cursors: Cursors) -> JournalSlice | None:
        """The next slice after the cursors; None if there is nothing (yet)."""
        for path in self._journals():
            journal_slice = self._read_slice(path, Cursor(*cursors.get(path.name, Cursor())))
            if journal_slice is not None:
                return journal_slice
        return None

    def repeat(self, pending: Pending) -> JournalSlice | None:
        """The batch that was begun before; None if its range is empty now."""
        path = self._path(pending.journal)
        if not path.exists() or self._first_record(path) is None:
            return None
        return self._read_slice(path, Cursor(*pending.start), Cursor(*pending.stop))

    def _journals(self) -> Iterator[Path]:
        """The journals delivered to backends: those of rank 0, of other ranks if requested, of the nodes."""
        found: list[tuple[tuple[bool, int, int, int], Path]] = []
        for path in self.folder.glob("*" + SUFFIX):
            started = self._first_record(path)
            # Under Lightning's launcher, the first rank of each node begins as rank 0, until the ranks have connected.
            leads = started is not None and started.rank == started.node_rank == 0
            if started is not None and (started.role == "node" or leads or self.every_rank):
                found.append(((started.role == "node", started.node_rank, started.attempt, started.rank), path))
        yield from (path for _, path in sorted(found))
        for path in () if self._files else sorted(aggregates(self.folder)):
            if self._first_record(path) is not None:
                yield path

    def _path(self, name: str) -> Path:
        return self.folder / delivery_state.FOLDER / name if name.startswith(STEM) else self.folder / name

    def _first_record(self, path: Path) -> Started | None:
        known = self._started.get(path.name)
        if known is None and (known := first_record(path)) is not None:
            self._started[path.name] = known
        return known

    def _resumed_steps(self, started: Started) -> Mapping[tuple[str, str, int], int]:
        """The last steps of the branches before this one; those have ended, so the result never changes."""
        branch = started.branch
        if not branch or started.role != "rank":
            return {}
        if branch not in self._last_steps:
            paths = [(path, self._started[path.name]) for path in self._journals()]
            earlier = [path for path, one in paths if one.branch < branch and one.role != "node" and one.rank == 0]
            self._last_steps[branch] = last_steps(earlier)
        return self._last_steps[branch]

    def _read_slice(self, path: Path, start: Cursor, stop: Cursor | None = None) -> JournalSlice | None:
        here = path.stat()
        if stop is None and self._exhausted.get(path.name) == (here.st_size, here.st_mtime_ns):
            return None
        started = self._started[path.name]
        prefix = f"node{started.node_rank}/" if started.role == "node" and started.node_rank else ""
        source = Source(started.rank, started.attempt, started.pid, started.host)
        not_leading = started.role == "rank" and started.rank > 0
        if self._files:
            parts = BatchParts(source, prefix, files=True, not_leading=not_leading)
        else:
            several_ranks_since = self._skipped.several_ranks_since(path, start)
            parts = BatchParts(
                source,
                prefix,
                several_ranks_since,
                not_leading=not_leading,
                resumed_steps=self._resumed_steps(started),
            )
        reader = JournalReader(path)
        end = _fill(parts, reader, start, stop)
        if end is None and stop is None:
            self._exhausted[path.name] = (here.st_size, here.st_mtime_ns)
            return None
        end = stop or end
        assert end is not None  # one of the two exists
        pending = Pending(journal=path.name, start=(start.number, start.offset), stop=(end.number, end.offset))
        journal = path.name.removesuffix(SUFFIX)
        name = f"{journal}:{start.number}-{end.number}"
        damage = (*reader.damage, *parts.damage)
        return JournalSlice(pending, None if parts.empty() else parts.batch(name, journal), damage)


def _fill(parts: BatchParts, reader: JournalReader, start: Cursor, stop: Cursor | None) -> Cursor | None:
    """Fill the parts with one batch, up to `stop` if given; the cursor after it, None if there is nothing."""
    size = 0
    end: Cursor | None = None
    for taken, frame in enumerate(reader.frames(start), 1):
        beyond = stop is not None and frame.number >= stop.number
        if not beyond or frame.kind == POINTS:  # compaction moves points behind frames with a lower number
            parts.add(frame, stop.number if stop else frame.number + 1)
        end = frame.after
        size += 0 if parts.files and frame.kind not in FILES else len(frame.payload)
        if stop is not None:
            if frame.kind == POINTS and frame.number + 1 >= stop.number:
                break
            continue
        full = (
            parts.points >= MAX_POINTS
            or taken >= (MOST_FILE_FRAMES if parts.files else MAX_FRAMES)
            or size >= MAX_BYTES
        )
        if full and (frame.kind == POINTS or not _compacted(reader)):
            break
    return end


def _compacted(reader: JournalReader) -> bool:
    footer = reader.footer()
    return footer is not None and footer.compacted
