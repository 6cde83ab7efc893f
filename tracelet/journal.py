"""One process's file in a run: append, read after a cursor, seal. Locked by nobody.

`Journal` is written by one thread of one process. `JournalReader` may be used by anyone, at any time, on any host
that sees the file; it never writes. Layout, little endian:

    file   = "TRACELET" version(u16) crc(u32) zeros(2)  frame*
    frame  = marker(2) kind(u8) zero(u8) length(u32) number(u32) crc(u32)  payload(length)

`crc` is the CRC-32 of the header before it and the payload. Frames are numbered from 0. A frame that ends after the
file does is a torn tail: it is waited for. A frame whose checksum is wrong is skipped, by its length if a sound frame
follows and else by searching for the next marker, and counted in `damage`. Kinds that this version does not know are
passed over.

Sealing appends a footer frame and a seal: a frame of kind 254 whose payload is the footer's offset. The seal has a
fixed size, so the footer of a sealed journal is found from the end of the file in one read.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import msgspec

from tracelet.confidential import redact
from tracelet.errors import JournalError
from tracelet.frames import (
    HEADER,
    LONGEST_FRAME,
    MAGIC,
    PREAMBLE,
    READ_BLOCK,
    SEAL_SIZE,
    VERSION,
    Cursor,
    Frame,
    Scan,
    encode_frame,
    frame_in,
    preamble,
)  # fmt: skip
from tracelet.points import NOT_LITTLE
from tracelet.records import KIND_OF, Console, Footer, Points, Record, Spans

SEAL = 254
SEAL_BODY = struct.Struct("<Q")
SUFFIX = ".tlj"
PREAMBLE_DAMAGE = f"the first {PREAMBLE.size} bytes are damaged"

_encoder = msgspec.msgpack.Encoder()


@dataclass
class Journal:
    """The writing side. Not thread-safe: one thread owns it. Methods raise OSError and leave nothing half-written."""

    path: Path
    descriptor: int
    size: int = 0
    number: int = 0
    others: list[tuple[int, int, int]] = field(default_factory=list)
    point_offsets: array[int] = field(default_factory=lambda: array("Q"))

    @classmethod
    def create(cls, path: Path) -> Journal:
        """Make a new journal; FileExistsError if somebody else made it first, so that a process owns its file."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o644)
        journal = cls(path, descriptor)
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
            payload = _encoder.encode(record) if kind == KIND_OF[Points] else redact(_encoder.encode(record))
            if len(payload) > LONGEST_FRAME:
                raise ValueError(f"a record of {len(payload):,} bytes is longer than any reader takes")
            frame = encode_frame(kind, number, payload)
            places.append((kind, number, offset))
            parts.append(frame)
            number += 1
            offset += len(frame)
        self._write(b"".join(parts))
        self.number = number
        for place in places:
            self._remember(*place)

    def append_frame(self, kind: int, number: int, payload: bytes) -> None:
        """Append one frame with a number that is not the next one: for rewriting a journal."""
        place = self.size
        self._write(encode_frame(kind, number, payload))
        self.number = number + 1
        self._remember(kind, number, place)

    def _remember(self, kind: int, number: int, offset: int) -> None:
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
            self._cut()
            raise
        self.size += written

    def _cut(self) -> None:
        # What a full disk took of a frame is removed, so that the retry leaves no torn frame in the middle.
        try:
            os.ftruncate(self.descriptor, self.size)
        except OSError:
            return

    def index(self) -> bytes:
        """The offsets of the frames with points, as `Footer.points` holds them."""
        offsets = array("Q", self.point_offsets)
        if NOT_LITTLE:
            offsets.byteswap()
        return zlib.compress(offsets.tobytes(), 1)

    def seal(self, footer: Footer) -> None:
        """Append the footer and the seal, and sync. Appending goes on to be possible; the last seal counts."""
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

    def beat(self) -> None:
        """Touch the file: readers on other hosts tell a silent process from a dead one by its modification time."""
        os.utime(self.descriptor)

    def lost(self) -> bool:
        """Whether the file was deleted or its folder moved away from under us. A silent disk is no proof."""
        try:
            there = os.stat(self.path)
            here = os.fstat(self.descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError as error:
            return error.errno == errno.ESTALE
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    def rescue(self) -> bool:
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


class JournalReader:
    """The reading side: frames after a cursor, and the footer of a sealed journal. Opens the file only to read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []
        """One sentence for every place that could not be read; grows while reading."""

    def note(self, sentence: str) -> None:
        """Remember damage; once, because a file is read again and again."""
        if sentence not in self.damage:
            self.damage.append(sentence)

    def frames(self, after: Cursor | None = None, until: int | None = None) -> Iterator[Frame]:
        """The sound frames from the cursor on, in order, up to the end of the file as it is now (or the byte `until`).

        JournalError when the file is not a journal or one of a newer tracelet; OSError when it cannot be opened.
        """
        with open(self.path, "rb", buffering=0) as file:
            if not self._check(file):
                return
            start = after or Cursor()
            size = os.fstat(file.fileno()).st_size if until is None else until
            yield from Scan(file.fileno(), size, self.damage).frames(start)

    def _check(self, file: FileIO) -> bool:
        head = file.read(PREAMBLE.size)
        if MAGIC.startswith(head[:8]) and len(head) < PREAMBLE.size:
            return False  # its process was killed while it made the file: no record is in it
        if len(head) == PREAMBLE.size and head == preamble(version := PREAMBLE.unpack(head)[1]):
            self._refuse_newer(version)
        elif not self._has_frames(file):
            raise JournalError(f"{self.path} is not a tracelet journal; move it out of the store")
        else:
            self.note(PREAMBLE_DAMAGE)
        return True

    @staticmethod
    def _has_frames(file: FileIO) -> bool:
        """Whether there is a sound frame near the beginning, of a file whose own beginning is damaged."""
        size = min(os.fstat(file.fileno()).st_size, READ_BLOCK)
        return next(Scan(file.fileno(), size, []).all_frames(Cursor()), None) is not None

    def _refuse_newer(self, version: int) -> None:
        if version > VERSION:
            raise JournalError(
                f"{self.path} was written by a newer tracelet (journal version {version}, this one reads {VERSION}). "
                "It is left as it is. To read it: pip install --upgrade tracelet"
            )

    def footer(self) -> Footer | None:
        """The footer, if the journal is sealed (nothing stands behind the seal)."""
        with open(self.path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size < PREAMBLE.size + SEAL_SIZE or not self._check(file):
                return None
            seal = frame_in(os.pread(file.fileno(), SEAL_SIZE, size - SEAL_SIZE), 0, size - SEAL_SIZE)
            if seal is None or seal.kind != SEAL or len(seal.payload) != SEAL_BODY.size:
                return None
            (place,) = SEAL_BODY.unpack(seal.payload)
            length = size - SEAL_SIZE - place
            believed = HEADER.size < length <= HEADER.size + LONGEST_FRAME
            frame = frame_in(os.pread(file.fileno(), length, place), 0, place) if believed else None
        if frame is None or frame.kind != KIND_OF[Footer]:
            return None
        try:
            record = frame.record()
        except JournalError as error:
            self.note(f"{error}; the journal is read frame by frame instead")
            return None
        return record if isinstance(record, Footer) else None


def attempt_path(folder: Path, stem: str, attempt: int) -> Path:
    """Where the journal of one process stands: `rank-0.0.tlj` for the first process of rank 0, `rank-0.1.tlj` ..."""
    return folder / f"{stem}.{attempt}{SUFFIX}"


def create_next(folder: Path, stem: str) -> tuple[Journal, int]:
    """A new journal of this stem, and the number of its attempt: the first not taken. Raises OSError."""
    attempt = 0
    while True:
        try:
            return Journal.create(attempt_path(folder, stem, attempt)), attempt
        except FileExistsError:
            attempt += 1
