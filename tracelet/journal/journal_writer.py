"""The writing side of a journal: append, seal, and write it again should it be deleted.

Used by one thread of one process; the file belongs to that process and is locked by nobody. `journal_reader`
describes the layout. Raises OSError, and leaves nothing half-written.
"""

from __future__ import annotations

import errno
import os
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tracelet.journal.column_packing import BIG_ENDIAN
from tracelet.journal.frames import MAX_FRAME_BYTES, PREAMBLE, READ_BLOCK, SEAL, SEAL_BODY, encode_frame, preamble
from tracelet.journal.records import KIND_OF, Console, Footer, Points, Record, Spans

_encoder = msgspec.msgpack.Encoder()

Redact = Callable[[bytes], bytes]
"""Takes secrets out of an encoded record without changing its structure."""


@dataclass
class JournalWriter:
    """The writing side. Not thread-safe: one thread owns it. Methods raise OSError and leave nothing half-written."""

    path: Path
    redact: Redact
    """What every record but points goes through before it is written."""
    descriptor: int
    size: int = 0
    number: int = 0
    others: list[tuple[int, int, int]] = field(default_factory=list)
    point_offsets: array[int] = field(default_factory=lambda: array("Q"))

    @classmethod
    def create(cls, path: Path, redact: Redact) -> JournalWriter:
        """Make a new journal; FileExistsError if somebody else made it first, so that a process owns its file."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o644)
        journal = cls(path, redact, descriptor)
        try:
            journal._write(preamble())
        except OSError:
            journal.close()
            raise
        return journal

    def append(self, records: Sequence[Record]) -> None:
        """Append records in one write. On OSError the file ends where it did, and they may be tried again."""
        offset, number = self.size, self.number
        parts: list[bytes] = []
        places: list[tuple[int, int, int]] = []
        for record in records:
            kind = KIND_OF[type(record)]
            payload = _encoder.encode(record) if kind == KIND_OF[Points] else self.redact(_encoder.encode(record))
            if len(payload) > MAX_FRAME_BYTES:
                raise ValueError(f"a record of {len(payload):,} bytes exceeds the size limit")
            frame = encode_frame(kind, number, payload)
            places.append((kind, number, offset))
            parts.append(frame)
            number += 1
            offset += len(frame)
        self._write(b"".join(parts))
        self.number = number
        for place in places:
            self._index_frame(*place)

    def append_frame(self, kind: int, number: int, payload: bytes) -> None:
        """Append one frame with a number that is not the next one: for rewriting a journal."""
        place = self.size
        self._write(encode_frame(kind, number, payload))
        self.number = number + 1
        self._index_frame(kind, number, place)

    def _index_frame(self, kind: int, number: int, offset: int) -> None:
        if kind == KIND_OF[Points]:
            self.point_offsets.append(offset)
        elif kind not in (KIND_OF[Spans], KIND_OF[Console]):  # of these there are many, and the index must stay small
            self.others.append((kind, number, offset))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        written = 0
        try:
            while written < len(view):
                written += os.pwrite(self.descriptor, view[written:], self.size + written)
        except OSError:
            self._truncate()
            raise
        self.size += written

    def _truncate(self) -> None:
        # What a full disk took of a frame is removed, so that the retry leaves no torn frame in the middle.
        try:
            os.ftruncate(self.descriptor, self.size)
        except OSError:
            return

    def index(self) -> bytes:
        """The offsets of the frames with points, as `Footer.points` holds them."""
        offsets = array("Q", self.point_offsets)
        if BIG_ENDIAN:
            offsets.byteswap()
        return zlib.compress(offsets.tobytes(), 1)

    def seal(self, footer: Footer) -> None:
        """Append the footer and the seal, and sync. More may be appended; the last seal counts."""
        place = self.size
        self.append([footer])
        self.append_seal(place)
        self.sync()

    def append_seal(self, footer: int) -> None:
        """Append the seal, which says at which byte the footer stands."""
        self._write(encode_frame(SEAL, self.number, SEAL_BODY.pack(footer)))
        self.number += 1

    def sync(self) -> None:
        """Ask the operating system to bring it to the disk."""
        os.fsync(self.descriptor)

    def touch(self) -> None:
        """Touch the file: by its modification time, readers on other hosts know that the process is alive."""
        os.utime(self.descriptor)

    def is_missing(self) -> bool:
        """Whether the file was deleted or its folder was moved away. A disk that does not answer is no proof."""
        try:
            there = os.stat(self.path)
            here = os.fstat(self.descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError as error:
            return error.errno == errno.ESTALE
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    def recreate(self) -> bool:
        """Write everything again to where the file should be, out of the deleted file that is still open.

        False when that can no longer be read (network disks forget deleted files): the journal then begins anew there.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(self.path.name + ".new")
        fresh = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            complete = self._copy_to(fresh)
            if not complete:
                os.ftruncate(fresh, 0)
                os.pwrite(fresh, preamble(), 0)
            os.replace(beside, self.path)
        except OSError:
            os.close(fresh)
            raise
        self.close()
        self.descriptor = fresh
        if not complete:
            self.size, self.others, self.point_offsets = PREAMBLE.size, [], array("Q")
        return complete

    def _copy_to(self, fresh: int) -> bool:
        copied = 0
        while copied < self.size:
            try:
                block = os.pread(self.descriptor, min(READ_BLOCK, self.size - copied), copied)
            except OSError:
                return False
            if not block:
                return False
            copied += os.pwrite(fresh, block, copied)
        return True

    def close(self) -> None:
        """Let go of the file."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
