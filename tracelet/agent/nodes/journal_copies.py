"""Copies of other nodes' journals, byte for byte, in the run's folder on rank 0's node.

Used by `journal_receiver` on the threads of its connections. Bytes are only appended at the end of a copy, so that data
that arrives twice, late or out of order changes nothing. A copy has the name of its original; if that is taken
(containers with the same host name, a rank that moved to another node) it gets the next free attempt number. The
mapping of copies to nodes is saved before a copy's first byte.
"""

from __future__ import annotations

import os
import re
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tracelet.agent.nodes.protocol import CopyStatus, OfferJournal, Segment, SharedFolder, TryLater
from tracelet.journal.run_folder import SUFFIX, journal_path

REGISTRY = "mirrored.json"
NAMES = re.compile(r"((?:rank|node)-[A-Za-z0-9_.-]{1,200})\.(\d{1,6})" + re.escape(SUFFIX))
INCOMING = ".incoming"
CHUNK_SIZE = 1024 * 1024

Origin = tuple[str, str]
"""(node, name there)"""


class JournalCopies:
    """The copies of one run. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._names: dict[Origin, str] = {origin: name for name, origin in _read(folder / REGISTRY).items()}

    def paths(self) -> Iterator[Path]:
        """The copies."""
        with self._lock:
            names = list(self._names.values())
        yield from (self.folder / name for name in names)

    def offer(self, node: str, offer: OfferJournal) -> CopyStatus | TryLater | SharedFolder:
        """Find or create the copy of a journal. OSError if the disk refuses it."""
        match = NAMES.fullmatch(offer.name)
        if match is None:
            raise OSError(f"{offer.name[:80]!r} is not the name of a journal")
        with self._lock:
            origin = node, offer.name
            while (name := self._names.get(origin)) is None:
                answer = self._name(origin, match[1], int(match[2]), offer.head)
                if answer is not None:
                    return answer
            path = self.folder / name
            path.touch()  # it may have been deleted, or never created
        return _copy_status(path)

    def _name(self, origin: Origin, stem: str, attempt: int, head: bytes) -> TryLater | SharedFolder | None:
        """Choose a name for a copy and create it; None if the copy exists already, or another process was faster."""
        taken = set(self._names.values())
        path = journal_path(self.folder, stem, attempt)
        while path.name in taken or os.path.lexists(path):  # a dangling link takes the name as well
            if path.name not in taken and path.exists():
                with open(path, "rb") as file:
                    there = file.read(len(head))
                if there == head:
                    return SharedFolder()
                if head.startswith(there):
                    return TryLater(f"{path.name} is being created by another process")
            attempt += 1
            path = journal_path(self.folder, stem, attempt)
        self._names[origin] = path.name
        self._write()
        try:
            # Exclusively: on a shared disk a listing may not yet show a file that another node has created.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            del self._names[origin]
            self._write()
        return None

    def append(self, node: str, segment: Segment) -> int:
        """Append a segment at the copy's end; returns the new end. A segment for another position changes nothing."""
        with self._lock:
            name = self._names.get((node, segment.name))
        if name is None:
            raise OSError(f"{segment.name[:80]!r} was not offered")
        path = self.folder / name
        target = path.with_name(name + INCOMING) if segment.fresh else path
        if segment.fresh and not segment.offset:
            target.write_bytes(b"")
        size = _append(target, segment)
        if size == segment.offset + len(segment.data) and segment.fresh and segment.last:
            os.replace(target, path)
        if not segment.fresh or segment.last:
            alive = time.time() - max(0.0, segment.age)
            os.utime(path, (alive, alive))
        return size

    def _write(self) -> None:
        known = {name: origin for origin, name in self._names.items()}
        beside = self.folder / f".{REGISTRY}.new"
        beside.write_bytes(msgspec.json.encode(known))
        os.replace(beside, self.folder / REGISTRY)


def _append(target: Path, segment: Segment) -> int:
    descriptor = os.open(target, os.O_WRONLY)
    try:
        size = os.fstat(descriptor).st_size
        if size != segment.offset:
            return size
        try:
            view = memoryview(segment.data)
            while view:
                written = os.pwrite(descriptor, view, size)
                size, view = size + written, view[written:]
        except OSError:
            os.ftruncate(descriptor, segment.offset)
            raise
        return size
    finally:
        os.close(descriptor)


def _copy_status(path: Path) -> CopyStatus:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return CopyStatus(size, checksum(file.fileno(), size))


def checksum(descriptor: int, size: int) -> int:
    """The CRC-32 of a file's first `size` bytes."""
    crc, place = 0, 0
    while place < size:
        block = os.pread(descriptor, min(CHUNK_SIZE, size - place), place)
        if not block:
            break
        crc, place = zlib.crc32(block, crc), place + len(block)
    return crc


def _read(path: Path) -> dict[str, Origin]:
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, Origin])
    except (OSError, msgspec.MsgspecError, RecursionError):
        return {}
    return {name: origin for name, origin in known.items() if NAMES.fullmatch(name)}
