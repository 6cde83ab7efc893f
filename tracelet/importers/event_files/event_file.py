"""The records of an event file, block by block: their offsets and lengths. Reads only.

    record = length(u64) crc(length)(u32) data(length) crc(data)(u32)

Both checksums are masked CRC-32C. A record that extends past the end of the file is a torn tail: a file that is still
being written has one, and so has one whose writer was killed. A length with a wrong checksum ends the file, because the
start of the next record is unknown. Source of the format: TensorFlow's `lib/io/record_writer.h`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tracelet.importers.event_files.checksums import crc32c, masked

if TYPE_CHECKING:
    import numpy.typing as npt

HEAD = 12
"""Bytes before a record's data: its length and the length's checksum."""
TAIL = 4
BLOCK = 16 * 1024 * 1024
"""Bytes read at once. A longer record is read separately."""
LONGEST_RECORD = 1024 * 1024 * 1024
"""Bytes. A longer length is damage; TensorBoard itself refuses messages of 2 GiB."""
_length = struct.Struct("<Q")


@dataclass
class Block:
    """Some complete records: int64[n] offsets of their data in `data`, and int64[n] lengths."""

    data: bytes
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


@lru_cache(maxsize=65536)
def length_checksum(length: int) -> bytes:
    """The four bytes after a record's length."""
    return struct.pack("<I", masked(crc32c(_length.pack(length))))


@dataclass
class EventFile:
    """One file. `offset` is the end of the part read, so that `blocks` continues there when the file has grown."""

    path: Path
    offset: int = 0
    problems: list[str] = field(default_factory=list)

    def blocks(self) -> Iterator[Block]:
        """The complete records after `offset`, up to the file's current end."""
        wanted = BLOCK
        with open(self.path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            while self.offset < size and not self.problems:
                data = os.pread(file.fileno(), min(wanted, size - self.offset), self.offset)
                block, used, need = self._cut(data)
                self.offset += used
                if used:
                    wanted = BLOCK
                    yield block
                elif need <= len(data) or self.offset + need > size:
                    return  # a torn tail, or damage
                else:
                    wanted = need

    def _cut(self, data: bytes) -> tuple[Block, int, int]:
        """The complete records of the data, the bytes that they take, and those that the next one would take."""
        offsets: list[int] = []
        lengths: list[int] = []
        at, end, unpack, known = 0, len(data), _length.unpack_from, length_checksum
        need = HEAD
        while at + HEAD <= end:
            (length,) = unpack(data, at)
            behind = at + length + HEAD + TAIL
            if length > LONGEST_RECORD or data[at + 8 : at + HEAD] != known(length):
                self.problems.append(
                    f"{self.path.name} is damaged at byte {self.offset + at}; the rest is not imported"
                )
                break
            if behind > end:
                need = behind - at
                break
            offsets.append(at + HEAD)
            lengths.append(length)
            at = behind
        return Block(data, np.array(offsets, dtype=np.int64), np.array(lengths, dtype=np.int64)), at, need
