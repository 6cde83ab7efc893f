"""The records of a `.wandb` or `.swanlab` file. Used by their importers; reads only.

The file is a header of 7 bytes and blocks of 32 KiB, which hold chunks; a record is one chunk or several.

    chunk = crc32(type + data)(u32) length(u16) type(u8) data(length)

Types are 1 full, 2 first, 3 middle, 4 last; fewer than 7 bytes at the end of a block are padding. The layout is that of
LevelDB's log, with the header in the first block.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tracelet.errors import ImportFailed

WANDB, SWANLAB = b":W&B", b":SWL"
"""The beginning of each kind of file."""
HEADER = 7
BLOCK = 32 * 1024
CHUNK_HEAD = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
BLOCKS_AT_ONCE = 256
_TYPE_CRC = {kind: zlib.crc32(bytes([kind])) for kind in (FULL, FIRST, MIDDLE, LAST)}


@dataclass
class RecordLog:
    """One file; `problems` has a sentence for each part that could not be read."""

    path: Path
    magic: bytes = WANDB
    problems: list[str] = field(default_factory=list)

    def records(self) -> Iterator[bytes]:
        """Each complete record, in order; a torn tail ends them silently, because a run that is being
        written has one.
        """
        parts: list[bytes] = []
        for kind, data in self._chunks():
            if kind == FULL:
                parts = []
                yield data
            elif kind == FIRST:
                parts = [data]
            elif parts:
                parts.append(data)
                if kind == LAST:
                    yield b"".join(parts)
                    parts = []

    def _chunks(self) -> Iterator[tuple[int, bytes]]:
        with open(self.path, "rb") as file:
            data = file.read(BLOCKS_AT_ONCE * BLOCK)
            if not data.startswith(self.magic) and data:
                raise ImportFailed(f"{self.path} is no log of records: it does not begin with {self.magic!r}")
            at, base = HEADER, 0
            while data:
                yield from self._chunks_of(data, at, base)
                base += len(data)
                at, data = 0, file.read(BLOCKS_AT_ONCE * BLOCK)

    def _chunks_of(self, data: bytes, at: int, base: int) -> Iterator[tuple[int, bytes]]:
        unpack, size, end = CHUNK_HEAD.unpack_from, CHUNK_HEAD.size, len(data)
        while at + size <= end:
            left = BLOCK - at % BLOCK
            if left < size:
                at += left
                continue
            crc, length, kind = unpack(data, at)
            start = at + size
            if kind == 0 and length == 0:
                at += left  # zeros to the end of the block
                continue
            behind = start + length
            if behind > end:
                return
            body = data[start:behind]
            if kind not in _TYPE_CRC or zlib.crc32(body, _TYPE_CRC[kind]) != crc:
                self.problems.append(
                    f"{self.path.name} is damaged at byte {base + at}; the rest of its block is skipped"
                )
                at += left
                continue
            yield kind, body
            at = behind
