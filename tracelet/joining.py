"""Many packed columns unpacked as one array: what a series that stands in thousands of small chunks is read with.

Read side only, any process. Knows the codes of `tracelet.points`, which unpacks one column at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from tracelet.points import FLOAT_CODES, INTEGER_CODES, NUMPY_TYPES, claims, sound_body, unpack_floats, unpack_integers
from tracelet.records import Packed

if TYPE_CHECKING:
    from tracelet.points import FloatArray, IntArray

STEPPED = frozenset("BHIq")
"""Codes of differences."""
WORTH_JOINING = 8
"""Neighbouring columns of one code from which unpacking them together is faster."""
Counted = tuple[Packed, int]
"""A column and its count."""


def join_integers(columns: Sequence[Counted]) -> IntArray:
    """Many columns as one int64 array; JournalError when one is not one.

    Neighbours of one code are unpacked together: numpy's cost for short columns is in its calls, not in the points.
    """
    import numpy as np

    parts: list[IntArray] = []
    for code, alike in groupby(columns, key=_code):
        group = list(alike)
        if len(group) < WORTH_JOINING or not (code == "=" or code in STEPPED):
            parts += [unpack_integers(packed, count) for packed, count in group]
            continue
        sound = [claims(packed, count, INTEGER_CODES) for packed, count in group]
        counts = np.array([count for _, count in group])
        starts = np.array([start for _, start, _ in sound], dtype=np.int64)
        bodies = [body for _, _, body in sound]
        if code == "=":
            parts.append(_join_strides(starts, bodies, counts))
        else:
            parts.append(_join_steps(code, starts, bodies, counts))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _join_strides(starts: IntArray, strides: Sequence[int], counts: IntArray) -> IntArray:
    import numpy as np

    begins = counts.cumsum() - counts
    places = np.arange(counts.sum()) - np.repeat(begins, counts)
    joined: IntArray = np.repeat(starts, counts) + places * np.repeat(np.array(strides, dtype=np.int64), counts)
    return joined


def _join_steps(code: str, starts: IntArray, bodies: Sequence[object], counts: IntArray) -> IntArray:
    import numpy as np

    whole = b"".join(sound_body(code, body, count - 1)[1] for body, count in zip(bodies, counts.tolist()))
    begins = counts.cumsum() - counts
    column = np.empty(counts.sum(), dtype=np.int64)
    later = np.ones(len(column), dtype=np.bool_)
    later[begins] = False
    column[later] = np.frombuffer(whole, dtype=NUMPY_TYPES[code])
    column[begins] = starts
    np.cumsum(column, out=column)
    # The sum ran on from one column into the next: what it had reached there is taken off again.
    reached = np.concatenate([[0], column[begins[1:] - 1]])
    column -= np.repeat(reached, counts)
    return column


def join_floats(columns: Sequence[Counted]) -> FloatArray:
    """Many columns as one float64 array; JournalError when one is not one."""
    import numpy as np

    parts: list[FloatArray] = []
    for code, alike in groupby(columns, key=_code):
        group = list(alike)
        if code in ("f", "d"):
            bodies = [(claims(packed, count, FLOAT_CODES)[2], count) for packed, count in group]
            whole = b"".join(sound_body(code, body, count)[1] for body, count in bodies)
            parts.append(np.frombuffer(whole, dtype=NUMPY_TYPES[code]).astype(np.float64))
        else:
            parts += [unpack_floats(packed, count) for packed, count in group]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float64)


def _code(column: Counted) -> str:
    return column[0][0]
