"""How much work one pass over a journal may cause, relative to the bytes of the file: it may be damaged, or hostile.

Used by the scan of a journal, on the reader's thread. A packed column says how many values it holds, and a header how
long its frame is; a few bytes could claim gigabytes, again and again.
"""

from __future__ import annotations

FREE_POINTS = 4 * 1024 * 1024
POINTS_PER_BYTE = 64
"""Points and spans that the frames of a file may claim. Their times alone take more than half a byte each on a real
clock; only points with regular times come near, and of these the first millions are free.
"""
FREE_BYTES = 1024 * 1024
SEARCHES_PER_BYTE = 16
"""Bytes that may be checked in vain for each byte of the file. Chance makes one false header in 16 million bytes."""


class ReadBudget:
    """Of one pass over a file of `size` bytes."""

    def __init__(self, size: int) -> None:
        self._points = FREE_POINTS + POINTS_PER_BYTE * size
        self._bytes = FREE_BYTES + SEARCHES_PER_BYTE * size
        self._counted = -1
        self._refused: set[int] = set()
        """Offsets of frames that claim more than what was left."""

    def allows_points(self, offset: int, count: int) -> bool:
        """Whether the frame at this offset may claim so many; a frame that is decoded again costs nothing more.

        A claim beyond what is left is refused and costs nothing, so the frames behind a damaged one are read.
        """
        if offset > self._counted:
            self._counted = offset
            if count > self._points:
                self._refused.add(offset)
            else:
                self._points -= max(0, count)
        return offset not in self._refused

    def allows_search(self, length: int) -> bool:
        """Whether so many more bytes may be checked that no frame was at so far."""
        self._bytes -= length
        return self._bytes >= 0
