"""Points as packed columns: how a chunk is made (pure Python, writer thread) and how it is read (numpy, any process).

A column is `(code, start, body)`:

    code    body                              values
    "="     the stride                        start, start + stride, ... (integers)
    "B" "H" "I" "q"   differences, little     start, then start + the running sum (integers)
                      endian, count - 1
    "f" "d" the values, little endian         floats; "f" only where a float32 holds each value exactly
    "*"     unused                            every value equals start (floats)

Packing is lossless for integers below 2**53 and all floats (NaN payloads are kept by "d", plain NaN by "f").
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tracelet.errors import JournalError
from tracelet.records import Packed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    IntArray = npt.NDArray[np.int64]
    FloatArray = npt.NDArray[np.float64]

NOT_LITTLE = sys.byteorder != "little"
DIFFERENCE_CODES = (("B", 0xFF), ("H", 0xFFFF), ("I", 0xFFFFFFFF))
INTEGER, FLOAT = "<i8", "<f8"
"""The numpy types of unpacked columns."""
DIRECT_CODES = (("1", "B", 0xFF), ("2", "H", 0xFFFF), ("4", "I", 0xFFFFFFFF))
NUMPY_TYPES = {"1": "<u1", "2": "<u2", "4": "<u4", "B": "<u1", "H": "<u2", "I": "<u4", "q": "<i8", "f": "<f4", "d": "<f8"}


def _body(code: str, values: Iterable[float]) -> bytes:
    column = array(code, values)
    if NOT_LITTLE:
        column.byteswap()
    return column.tobytes()


def pack_integers(values: Sequence[int]) -> Packed:
    """Pack a non-empty column of integers (steps, microseconds)."""
    first, count = values[0], len(values)
    if count == 1:
        return ("=", first, 0)
    stride = values[1] - first
    if stride and list(values) == list(range(first, first + stride * count, stride)):
        return ("=", first, stride)
    differences = [after - before for before, after in zip(values, values[1:])]
    least, greatest = min(differences), max(differences)
    if least == greatest:
        return ("=", first, least)
    if least >= 0:
        for code, limit in DIFFERENCE_CODES:
            if greatest <= limit:
                return (code, first, _body(code, differences))
    if min(values) >= 0:
        for width, code, limit in DIRECT_CODES:
            if max(values) <= limit:
                return (width, 0, _body(code, values))
    return ("q", first, _body("q", differences))


def pack_floats(values: Sequence[float]) -> Packed:
    """Pack a non-empty column of floats, in half the space where float32 holds them exactly."""
    doubles = _body("d", values)
    if doubles == doubles[:8] * len(values):
        return ("*", values[0], b"")
    singles = array("f", values)
    if _body("d", singles) == doubles:
        return ("f", 0.0, _body("f", singles))
    return ("d", 0.0, doubles)


def unpack_integers(packed: Sequence[Any], count: int) -> IntArray:
    """The column as int64[count]; JournalError when it is not one."""
    import numpy as np

    code, start, body = packed
    if code == "=":
        return np.arange(count, dtype=np.int64) * int(body) + int(start)
    if code in ("1", "2", "4"):
        return _numbers(code, body, count).astype(np.int64)
    column = np.empty(count, dtype=np.int64)
    column[0] = int(start)
    column[1:] = _numbers(code, body, count - 1)
    return np.cumsum(column, out=column)


def unpack_floats(packed: Sequence[Any], count: int) -> FloatArray:
    """The column as float64[count]; JournalError when it is not one."""
    import numpy as np

    code, start, body = packed
    if code == "*":
        return np.full(count, start, dtype=np.float64)
    return _numbers(code, body, count).astype(np.float64)


def _numbers(code: str, body: object, count: int) -> npt.NDArray[Any]:
    import numpy as np

    if code not in NUMPY_TYPES or not isinstance(body, bytes) or len(body) != count * int(NUMPY_TYPES[code][2]):
        raise JournalError(f"a column of {count} values is damaged (code {code!r}); its points are left out")
    return np.frombuffer(body, dtype=NUMPY_TYPES[code])
