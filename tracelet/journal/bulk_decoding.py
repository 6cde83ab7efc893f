"""Decodes many packed columns into one array: for series that consist of thousands of small chunks.

Read side only, any process. Knows the codes of `tracelet.journal.column_packing`, which unpacks one column at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from tracelet.journal.column_packing import (
    FLOAT_CODES,
    INT64_MAX,
    INT64_MIN,
    INTEGER_CODES,
    MAX_POINTS,
    NUMPY_TYPES,
    checked_body,
    checked_column,
    unpack_floats,
    unpack_integers,
)
from tracelet.journal.records import Packed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tracelet.journal.column_packing import FloatArray, IntArray

    Number = TypeVar("Number", np.int64, np.float64)

DIFFERENCE_CODES = frozenset("BHIq")
"""Codes of differences."""
MIN_COLUMNS = 8
"""Neighbouring columns of one code from which unpacking them together is faster."""
SizedColumn = tuple[Packed, int]
"""A column and its count."""


def join_integers(columns: Sequence[SizedColumn]) -> IntArray:
    """Many columns as one int64 array; JournalError when one is not one.

    Neighbours of one code are unpacked together: numpy's cost for short columns is in its calls, not in the points.
    """
    import numpy as np

    parts: list[IntArray] = []
    for code, alike in groupby(columns, key=_code):
        group = list(alike)
        if len(group) < MIN_COLUMNS or not (code == "=" or code in DIFFERENCE_CODES):
            parts += [unpack_integers(packed, count) for packed, count in group]
            continue
        starts, bodies, lengths = _checked(group, INTEGER_CODES)
        counts = np.array(lengths, dtype=np.int64)
        if code == "=":
            parts.append(_join_strides(np.array(starts, dtype=np.int64), np.array(bodies, dtype=np.int64), counts))
        else:
            parts.append(_join_differences(code, np.array(starts, dtype=np.int64), bodies, counts))
    return _concatenate(parts, np.dtype(np.int64))


def _checked(group: Sequence[SizedColumn], codes: frozenset[str]) -> tuple[list[Any], list[Any], list[int]]:
    """Starts, bodies and counts of columns of one code. All are looked at together; one by one only to tell the bad."""
    starts, bodies = [packed[1] for packed, _ in group], [packed[2] for packed, _ in group]
    counts = [count for _, count in group]
    sound = min(counts) > 0 and max(counts) <= MAX_POINTS
    if codes is INTEGER_CODES:
        sound = sound and _all_int64(starts) and (group[0][0][0] != "=" or _all_int64(bodies))
    if not sound:
        for packed, count in group:
            checked_column(packed, count, codes)
    return starts, bodies, counts


def _all_int64(numbers: list[Any]) -> bool:
    return set(map(type, numbers)) == {int} and min(numbers) >= INT64_MIN and max(numbers) <= INT64_MAX


def _checked_bodies(code: str, bodies: list[Any], lengths: list[int]) -> list[bytes]:
    """The bodies, if each holds as many values as it should; JournalError if not."""
    width = int(NUMPY_TYPES[code][2])
    if set(map(type, bodies)) == {bytes} and list(map(len, bodies)) == [length * width for length in lengths]:
        return bodies
    return [checked_body(code, body, length)[1] for body, length in zip(bodies, lengths)]


def _join_strides(starts: IntArray, strides: IntArray, counts: IntArray) -> IntArray:
    """Columns that continue the one before are merged: most series have a step for each point."""
    import numpy as np

    fresh = np.ones(len(starts), dtype=np.bool_)
    fresh[1:] = (strides[1:] != strides[:-1]) | (starts[1:] != starts[:-1] + strides[:-1] * counts[:-1])
    begins = np.flatnonzero(fresh)
    starts, strides, counts = starts[begins], strides[begins], np.add.reduceat(counts, begins)
    if len(starts) < MIN_COLUMNS:
        columns = zip(starts.tolist(), strides.tolist(), counts.tolist())
        return _concatenate(
            [unpack_integers(("=", a, stride), count) for a, stride, count in columns], np.dtype(np.int64)
        )
    return _cumulative_sums(np.repeat(strides, counts), starts, counts)


def _join_differences(code: str, starts: IntArray, bodies: list[Any], counts: IntArray) -> IntArray:
    import numpy as np

    gap = bytes(int(NUMPY_TYPES[code][2]))
    sound = _checked_bodies(code, bodies, (counts - 1).tolist())
    whole = gap + gap.join(sound)  # where a column begins there is room for its start
    return _cumulative_sums(np.frombuffer(whole, dtype=NUMPY_TYPES[code]).astype(np.int64), starts, counts)


def _cumulative_sums(steps: IntArray, starts: IntArray, counts: IntArray) -> IntArray:
    """The running sums of many columns of differences, in place; what stands where a column begins counts as none."""
    import numpy as np

    begins = counts.cumsum() - counts
    steps[begins] = 0
    ends = starts + np.add.reduceat(steps, begins)
    steps[begins[0]] = starts[0]
    steps[begins[1:]] = starts[1:] - ends[:-1]  # leads from the end of the one before to the start of this one
    return np.cumsum(steps, out=steps)


def join_floats(columns: Sequence[SizedColumn]) -> FloatArray:
    """Many columns as one float64 array; JournalError when one is not one."""
    import numpy as np

    parts: list[FloatArray] = []
    for code, alike in groupby(columns, key=_code):
        group = list(alike)
        if code in ("f", "d"):
            _, bodies, lengths = _checked(group, FLOAT_CODES)
            whole = bytearray().join(_checked_bodies(code, bodies, lengths))  # an array over it can be written to
            parts.append(np.frombuffer(whole, dtype=NUMPY_TYPES[code]).astype(np.float64, copy=False))
        else:
            parts += [unpack_floats(packed, count) for packed, count in group]
    return _concatenate(parts, np.dtype(np.float64))


def _concatenate(parts: list[npt.NDArray[Number]], kind: np.dtype[Number]) -> npt.NDArray[Number]:
    """The parts as one array; one alone is not copied."""
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)


def _code(column: SizedColumn) -> str:
    return column[0][0]
