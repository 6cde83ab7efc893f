"""Masked CRC-32C (Castagnoli) of event files, for many records of the same length at once. Needs numpy; pure.

CRC is linear: the effect of a changed byte on the checksum depends only on the byte and on its distance from the end.
So the checksum of a record is that of a similar one, combined with one table look-up per byte in which they differ.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

POLYNOMIAL = 0x82F63B78
"""Of CRC-32C, reflected. Source: RFC 3720, appendix B.4."""
MASK_DELTA = 0xA282EAD8
"""Source: TensorFlow's `lib/hash/crc32c.h`."""


def _table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


TABLE = _table()


def crc32c(data: bytes) -> int:
    """The checksum of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """The masked checksum, as event files store it."""
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF


@lru_cache(maxsize=4096)
def effect(distance: int) -> npt.NDArray[np.uint32]:
    """uint32[256]: the effect of a byte difference on the checksum, `distance` bytes before the end (from 1)."""
    table = np.array(TABLE, dtype=np.uint32)
    if distance == 1:
        return table
    before = effect(distance - 1)
    found: npt.NDArray[np.uint32] = table[before & 0xFF] ^ (before >> np.uint32(8))
    return found


def masked_array(crcs: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """`masked` for uint32[n]."""
    wide = crcs.astype(np.uint64)
    rotated = (wide >> np.uint64(15)) | (wide << np.uint64(17))
    return ((rotated + np.uint64(MASK_DELTA)) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
