"""The frames of a journal: how they are encoded, and a scan that finds the intact ones in a damaged file.

Used by `tracelet.journal` alone. Reads through `pread`, so a scan never moves a shared file position.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from tracelet.errors import JournalError
from tracelet.journal.chunk_merging import points_since
from tracelet.journal.read_budget import ReadBudget
from tracelet.journal.records import KINDS, Artifact, Chunk, Event, Facts, Media, Points, Record, Span, Spans, Started

MAGIC = b"TRACELET"
VERSION = 1
PREAMBLE = struct.Struct("<8sHI2x")
"""magic, version, CRC-32 of both"""
HEADER = struct.Struct("<2sBBIII")
"""marker, kind, zero, length, number, crc"""
SEAL = 254
"""The kind of the frame that seals a journal; its payload is the offset of the footer."""
SEAL_BODY = struct.Struct("<Q")
SEAL_SIZE = HEADER.size + SEAL_BODY.size
"""The last frame of a sealed journal: a header and an offset."""
MARKER = b"\xf5\xa7"
MAX_FRAME_BYTES = 256 * 1024 * 1024
"""A length beyond this is damage, not a frame: no flush comes near it."""
READ_BLOCK = 4 * 1024 * 1024
NO_READABLE_FRAME = "there is no valid frame from byte"
OVERLAP = HEADER.size - 1
"""Blocks of a search overlap by this much, so that a header across two blocks is found."""

MAX_DEPTH = 50
"""Levels of nesting in what a record holds. Nobody logs that; what shows or sends it further would run out of stack."""
FIXARRAY = 0x90
"""The upper half of the byte that begins a msgpack array of up to 15 values."""
SINGLE_CHUNK_PREFIX = b"\x81\xa6chunks\x91"
"""How points of one series begin; these are decoded at once."""


class _RawPoints(msgspec.Struct):
    """`Points` with the chunks left encoded."""

    chunks: list[msgspec.Raw]


_raw_points = msgspec.msgpack.Decoder(_RawPoints)
_chunk = msgspec.msgpack.Decoder(Chunk)
_points = msgspec.msgpack.Decoder(Points)
_decoders: dict[int, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(record) for kind, record in KINDS.items()
}
UNTYPED_FIELDS: dict[type[Record], str] = {
    Started: "backends", Facts: "values", Event: "attributes", Artifact: "metadata", Span: "attributes",
    Spans: "attributes", Media: "extra",
}  # fmt: skip
"""Which field of a record may hold anything."""


class Cursor(NamedTuple):
    """A place between two frames: the number of the next frame to read, and where it probably stands."""

    number: int = 0
    offset: int = PREAMBLE.size


class Frame(NamedTuple):
    """One frame of the file; `record()` decodes it.

    `since`: the number that the reader asked for; points that compaction merged here from earlier frames are left out.
    """

    number: int
    kind: int
    offset: int
    payload: bytes
    since: int = 0
    budget: ReadBudget | None = None
    """What the pass that found it may still claim."""

    def record(self) -> Record:
        """The record inside; JournalError when the payload is not one of its kind."""
        try:
            record: Record = _decoders[self.kind].decode(self.payload)
        except (msgspec.MsgspecError, ValueError, KeyError, RecursionError) as error:
            raise JournalError(f"frame {self.number} (kind {self.kind}) is not a valid record: {error}") from None
        if isinstance(record, Points):
            self._check_count(sum(chunk.count for chunk in record.chunks))
            return points_since(record, self.since, self.number) if self.since else record
        if isinstance(record, Spans):
            self._check_count(record.count)
        if _is_too_deep(getattr(record, UNTYPED_FIELDS.get(type(record), ""), None)):
            raise JournalError(f"frame {self.number} (kind {self.kind}) is nested too deeply")
        return record

    def chunks(self, name: str) -> list[Chunk]:
        """The chunks of one metric in a frame of points, without decoding the others; JournalError as in `record`."""
        try:
            if self.payload.startswith(SINGLE_CHUNK_PREFIX):
                found = _points.decode(self.payload).chunks
            else:
                wanted = msgspec.msgpack.encode(name)
                found = [
                    _chunk.decode(raw) for raw in _raw_points.decode(self.payload).chunks if _has_name(raw, wanted)
                ]
            named = [chunk for chunk in found if chunk.name == name]
        except (msgspec.MsgspecError, ValueError) as error:
            raise JournalError(f"frame {self.number} (kind {self.kind}) is not a valid record: {error}") from None
        self._check_count(sum(chunk.count for chunk in named))
        return named

    def _check_count(self, count: int) -> None:
        if self.budget is not None and not self.budget.allows_points(self.offset, count):
            raise JournalError(
                f"frame {self.number} claims more points than a file of this size holds; it is damaged and skipped"
            )

    @property
    def after(self) -> Cursor:
        """The cursor behind this frame."""
        return Cursor(self.number + 1, self.offset + HEADER.size + len(self.payload))


def _is_too_deep(value: Any, level: int = 0) -> bool:
    if level > MAX_DEPTH:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return any(_is_too_deep(item, level + 1) for item in inner)


def _has_name(chunk: msgspec.Raw, name: bytes) -> bool:
    """Whether an encoded chunk may be of the metric: its name comes first, behind one byte that says how long it is."""
    head = memoryview(chunk)[: 1 + len(name)]
    return head[0] & 0xF0 != FIXARRAY or head[1:] == name


def preamble(version: int = VERSION) -> bytes:
    """The bytes that a journal begins with."""
    return PREAMBLE.pack(MAGIC, version, zlib.crc32(PREAMBLE.pack(MAGIC, version, 0)[:10]))


def encode_frame(kind: int, number: int, payload: bytes) -> bytes:
    """The bytes of one frame."""
    head = HEADER.pack(MARKER, kind, 0, len(payload), number, 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload


def parse_frame(block: bytes, at: int, base: int) -> Frame | None:
    """The sound frame at `block[at:]`, whose first byte stands at `base + at` in the file; None if there is none."""
    if at + HEADER.size > len(block):
        return None
    marker, kind, zero, length, number, crc = HEADER.unpack_from(block, at)
    begin = at + HEADER.size
    if marker != MARKER or zero or length > MAX_FRAME_BYTES or begin + length > len(block):
        return None
    payload = block[begin : begin + length]
    if zlib.crc32(payload, zlib.crc32(block[at : begin - 4])) != crc:
        return None
    return Frame(number, kind, base + at, payload)


class Scan:
    """One pass over an open file, in blocks."""

    def __init__(self, descriptor: int, size: int, damage: list[str]) -> None:
        self.descriptor = descriptor
        self.size = size
        self.damage = damage
        self.budget = ReadBudget(size)

    def frames(self, start: Cursor) -> Iterator[Frame]:
        """The sound frames from the cursor on whose kind this version knows."""
        for frame in self.all_frames(start):
            if frame.kind in KINDS:
                yield frame._replace(since=start.number) if start.number else frame

    def all_frames(self, start: Cursor) -> Iterator[Frame]:
        """The sound frames from the cursor on, whatever their kind."""
        # What was no frame at the last look may have been half written then.
        self.damage[:] = [sentence for sentence in self.damage if not sentence.startswith(NO_READABLE_FRAME)]
        offset = self._confirmed(start)
        block, base, last = b"", offset, start.number - 1
        while offset < self.size:
            frame = parse_frame(block, offset - base, base)
            if frame is None:
                block, base, need = self._block_for(block, base, offset)  # it may have ended before the frame does
                frame = parse_frame(block, offset - base, base)
                if frame is None and not self.budget.allows_search(min(need, self.size - offset)):
                    self._give_up(offset)
                    return
                found = self._resume(offset, need) if frame is None else offset
                if found is None:
                    return
                offset = found
            if frame is None:
                continue
            offset = frame.after.offset
            if frame.number > last:
                last = frame.number
                yield frame._replace(budget=self.budget)
            elif last >= start.number:  # bytes of a journal behind a journal; a writer only counts up
                self._note("frames behind a later frame have its number or an earlier one, and were skipped")

    def _block_for(self, block: bytes, base: int, offset: int) -> tuple[bytes, int, int]:
        """A block that has all of the frame at `offset`, as far as the file does; where it begins; the frame's size."""
        if offset + HEADER.size > base + len(block):
            block, base = self._read(offset, READ_BLOCK), offset
        need = self._need(block, offset - base)
        if need > base + len(block) - offset:
            block, base = self._read(offset, max(need, READ_BLOCK)), offset
        return block, base, need

    def _read(self, offset: int, length: int) -> bytes:
        return os.pread(self.descriptor, min(length, self.size - offset), offset)

    @staticmethod
    def _need(block: bytes, at: int) -> int:
        """Bytes that the frame at `at` says it takes; just the header where that cannot be believed."""
        if at + HEADER.size > len(block):
            return HEADER.size
        marker, _, zero, length, _, _ = HEADER.unpack_from(block, at)
        believed = marker == MARKER and not zero and length <= MAX_FRAME_BYTES
        return HEADER.size + length if believed else HEADER.size

    def _confirmed(self, start: Cursor) -> int:
        """The cursor's offset if the frame there has its number (or the file ends there), else the first frame's."""
        if start.offset >= self.size:
            return start.offset if start.number == 0 or self._ends_before(start) else PREAMBLE.size
        head = self._read(start.offset, HEADER.size)
        if len(head) == HEADER.size:
            marker, _, _, _, number, _ = HEADER.unpack(head)
            if marker == MARKER and number == start.number:
                return start.offset
        return PREAMBLE.size

    def _ends_before(self, start: Cursor) -> bool:
        """Whether the file ends at the cursor. A compacted one may do so by chance, which its seal tells."""
        if start.offset != self.size:
            return False
        seal = parse_frame(self._read(self.size - SEAL_SIZE, SEAL_SIZE), 0, 0) if self.size > SEAL_SIZE else None
        return seal is None or seal.number < start.number

    def _resume(self, offset: int, need: int) -> int | None:
        """Where sound frames begin again after a bad one at `offset`; None when this is the torn tail."""
        place = self._search(offset + 1)
        if place is None:
            if offset + need <= self.size:
                self._note(f"{NO_READABLE_FRAME} {offset}")
            return None
        self._note(f"{place - offset} bytes from byte {offset} are damaged and were skipped")
        return place

    def _give_up(self, offset: int) -> None:
        self._note(f"the damage has too many false headers; what follows byte {offset} is not read")

    def _note(self, sentence: str) -> None:
        if sentence not in self.damage:  # a file is read again and again
            self.damage.append(sentence)

    def _search(self, offset: int) -> int | None:
        while offset < self.size:
            block = self._read(offset, READ_BLOCK + OVERLAP)
            at = block.find(MARKER)
            while at >= 0:
                need = self._need(block, at)
                if offset + at + need > self.size:
                    at = block.find(MARKER, at + 1)
                    continue
                if not self.budget.allows_search(need):
                    self._give_up(offset + at)
                    return None
                candidate = self._read(offset + at, need)
                if parse_frame(candidate, 0, offset + at) is not None:
                    return offset + at
                at = block.find(MARKER, at + 1)
            offset += READ_BLOCK
        return None
