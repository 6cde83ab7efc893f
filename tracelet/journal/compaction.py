"""Rewrites a sealed journal with the points of many flushes merged into few compressed chunks.

Called by the writer after sealing a small journal, and by whoever tidies a store; on any thread, in any process. It
never touches a journal that is not sealed or not sound, never loses or reorders a point of a series, and never
invalidates a cursor: a merged frame bears the number of the last frame in it, and each point the number of its own.
The old file stays what it is until the new one, complete and synced, takes its name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tracelet.errors import JournalError
from tracelet.journal.chunk_merging import Columns, merge_key
from tracelet.journal.column_packing import compress
from tracelet.journal.frames import SEAL, Cursor, Frame, Scan
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import KIND_OF, Chunk, Footer, Points, Spans

CHUNK_POINTS = 65_536
"""A merged chunk ends with the flush that brings it here: long enough to be read at memory speed."""
FRAME_POINTS = 262_144
"""All chunks of a merged frame together: what a courier has in memory at once (about 2 MB)."""
STALE_AFTER = 3600.0
"""Seconds after which an unfinished new file belongs to a process that was killed."""
TEMPORARY_SUFFIX = ".compacting"


def compact(path: Path) -> bool:
    """Rewrite the journal unless that is done or impossible; whether it was. OSError when the disk refuses it."""
    reader = JournalReader(path)
    footer = reader.footer()
    if footer is None or footer.compacted:
        return False
    _remove_leftovers(path)
    fresh = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    with open(path, "rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        scan = Scan(file.fileno(), before.st_size, [])
        try:
            _write_journal(fresh, scan.all_frames(Cursor()), footer)
            if scan.damage or not _is_unchanged(path, before):
                return False
            os.chmod(fresh, before.st_mode & 0o777)
            os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _remove_leftovers(path: Path) -> None:
    """Remove what a killed compaction of this journal left behind."""
    for left in path.parent.glob(f"{path.name}.*{TEMPORARY_SUFFIX}"):
        if time.time() - left.stat().st_mtime > STALE_AFTER:
            left.unlink(missing_ok=True)


def _is_unchanged(path: Path, before: os.stat_result) -> bool:
    """Whether the file is still the one that was read, with nothing behind the seal."""
    now = os.stat(path)
    return (now.st_ino, now.st_size, now.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _already_redacted(payload: bytes) -> bytes:
    """Secrets were taken out when the journal was written."""
    return payload


def _write_journal(fresh: Path, frames: Iterator[Frame], footer: Footer) -> None:
    journal = JournalWriter.create(fresh, _already_redacted)
    try:
        for frame in _rewrite_frames(frames):
            journal.append_frame(frame.kind, frame.number, frame.payload)
        place = journal.size
        index = msgspec.structs.replace(footer, others=journal.others, points=journal.index(), compacted=True)
        journal.append_frame(KIND_OF[Footer], footer.frames, msgspec.msgpack.encode(index))
        journal.append_seal(place)
        journal.sync()
    finally:
        journal.close()


def _rewrite_frames(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The frames of the new file, numbered upwards: footers and seals left out, points merged, spans compressed."""
    pending = _MergedFrame()
    held: list[Frame] = []
    for frame in frames:
        if frame.kind in (SEAL, KIND_OF[Footer]):
            continue
        if frame.kind != KIND_OF[Points]:
            held.append(_compress_spans(frame))
            continue
        unpacked = _unpack(frame)
        if pending.full or unpacked is None:
            yield from pending.close()
            pending = _MergedFrame()
        yield from held  # numbered below this frame, and so below the merged one that it belongs to
        held.clear()
        if unpacked is None:
            yield frame  # nothing that this version understands: kept as it is
        else:
            pending.add(frame.number, unpacked)
    yield from pending.close()
    yield from held


def _unpack(frame: Frame) -> list[tuple[Chunk, Columns]] | None:
    try:
        record = frame.record()
        assert isinstance(record, Points)  # its kind says so
        return [(chunk, Columns.of(chunk, frame.number)) for chunk in record.chunks]
    except JournalError:
        return None


class _MergedFrame:
    """The merged frame in the making: one growing chunk a series, a new one where the series' stage or fit changes."""

    def __init__(self) -> None:
        self._number = 0
        self._points = 0
        self._longest = 0
        self._groups: list[tuple[Chunk, Columns]] = []
        self._open: dict[str, tuple[Chunk, Columns]] = {}

    @property
    def full(self) -> bool:
        return self._points >= FRAME_POINTS or self._longest >= CHUNK_POINTS

    def add(self, number: int, unpacked: list[tuple[Chunk, Columns]]) -> None:
        self._number = number
        for chunk, columns in unpacked:
            group = self._open.get(chunk.name)
            if group is None or merge_key(group[0]) != merge_key(chunk):
                group = self._open[chunk.name] = (chunk, columns)
                self._groups.append(group)
            else:
                group[1].extend(columns)
            self._points += chunk.count
            self._longest = max(self._longest, len(group[1].steps))

    def close(self) -> Iterator[Frame]:
        """The frame, if there is anything in it."""
        if self._groups:
            points = Points(chunks=[columns.chunk(chunk, self._number) for chunk, columns in self._groups])
            yield Frame(self._number, KIND_OF[Points], 0, msgspec.msgpack.encode(points))


def _compress_spans(frame: Frame) -> Frame:
    if frame.kind != KIND_OF[Spans]:
        return frame
    try:
        record = frame.record()
    except JournalError:
        return frame
    assert isinstance(record, Spans)  # its kind says so
    columns = ("name_indexes", "ids", "parents", "starts", "durations", "threads")
    small = {name: compress(getattr(record, name)) for name in columns}
    return frame._replace(payload=msgspec.msgpack.encode(msgspec.structs.replace(record, **small)))
