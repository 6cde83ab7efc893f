"""The reading side of a journal: frames after a cursor, and the footer of a sealed one.

A journal is one process's file in a run. `JournalReader` may be used by anyone, at any time, on any host that sees
the file; it never writes. Layout, little endian:

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

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from tracelet.errors import JournalError, install_command
from tracelet.journal.frames import (
    HEADER,
    MAGIC,
    MAX_FRAME_BYTES,
    PREAMBLE,
    READ_BLOCK,
    SEAL,
    SEAL_BODY,
    SEAL_SIZE,
    VERSION,
    Cursor,
    Frame,
    Scan,
    parse_frame,
    preamble,
)  # fmt: skip
from tracelet.journal.records import KIND_OF, Footer, Started

PREAMBLE_DAMAGE = f"the first {PREAMBLE.size} bytes are damaged"


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
                f"It is not changed. To read it, update tracelet: {install_command()}"
            )

    def footer(self) -> Footer | None:
        """The footer, if the journal is sealed (nothing stands behind the seal)."""
        with open(self.path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size < PREAMBLE.size + SEAL_SIZE or not self._check(file):
                return None
            seal = parse_frame(os.pread(file.fileno(), SEAL_SIZE, size - SEAL_SIZE), 0, size - SEAL_SIZE)
            if seal is None or seal.kind != SEAL or len(seal.payload) != SEAL_BODY.size:
                return None
            (place,) = SEAL_BODY.unpack(seal.payload)
            length = size - SEAL_SIZE - place
            believed = HEADER.size < length <= HEADER.size + MAX_FRAME_BYTES
            frame = parse_frame(os.pread(file.fileno(), length, place), 0, place) if believed else None
        if frame is None or frame.kind != KIND_OF[Footer]:
            return None
        try:
            record = frame.record()
        except JournalError as error:
            self.note(f"{error}; the journal is read frame by frame instead")
            return None
        return record if isinstance(record, Footer) else None


def first_record(path: Path) -> Started | None:
    """What the journal says of its process; None while it says nothing that can be read."""
    try:
        frame = next(iter(JournalReader(path).frames()), None)
        record = None if frame is None else frame.record()
    except (OSError, JournalError):
        return None
    return record if isinstance(record, Started) else None
