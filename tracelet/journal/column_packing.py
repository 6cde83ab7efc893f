"""Points as packed columns: packs chunks (pure Python, writer thread) and unpacks them (numpy, any process).

A column is `(code, start, body)`:

    code    body                              values
    "="     the stride                        start, start + stride, ... (integers)
    "B" "H" "I" "q"   differences, little     start, then start + the running sum (integers)
                      endian, count - 1
    "f" "d" the values, little endian         floats; "f" only where a float32 holds each value exactly
    "1" "2" "4"       the values, little      unordered integers of 1, 2 or 4 bytes
                      endian
    "*"     unused                            every value equals start (floats)
    "z" and one       zlib of such a body     the same; only compaction creates it
    of "B" to "4"     with its bytes regrouped: all first bytes, all second bytes, ...

Packing is lossless for integers below 2**53 and all floats (NaN payloads are kept by "d", plain NaN by "f").
"""

from __future__ import annotations

import operator
import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tracelet.errors import JournalError
from tracelet.journal.records import Packed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    IntArray = npt.NDArray[np.int64]
    FloatArray = npt.NDArray[np.float64]

BIG_ENDIAN = sys.byteorder != "little"
DIFFERENCE_CODES = (("B", 0xFF), ("H", 0xFFFF), ("I", 0xFFFFFFFF))
INTEGER, FLOAT = "<i8", "<f8"
"""The numpy types of unpacked columns."""
DIRECT_CODES = (("1", "B", 0xFF), ("2", "H", 0xFFFF), ("4", "I", 0xFFFFFFFF))
NUMPY_TYPES = {
    "1": "<u1", "2": "<u2", "4": "<u4", "8": "<i8",
    "B": "<u1", "H": "<u2", "I": "<u4", "q": "<i8", "f": "<f4", "d": "<f8",
}  # fmt: skip
WIDEST = "8"
ARRAY_CODES = {WIDEST: "q", **{width: code for width, code, _ in DIRECT_CODES}}
"""Type codes of `array`, for columns whose codes numpy does not share."""
PROBE_LENGTH = 8
"""Values compared first: they rule out float32 for most columns of doubles before all values are compared."""
COMPRESSED = "z"
INTEGER_CODES, FLOAT_CODES = frozenset("=1248BHIq"), frozenset("*fd")
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
MAX_POINTS = 16 * 1024 * 1024
"""No flush comes near it. A chunk that claims more is not unpacked: some columns take no bytes whatever their count."""
MIN_COMPRESSED_BYTES = 64
"""Bytes of a body below which zlib's own header eats the gain."""
MAX_COMPRESSION_RATIO = 0.9
"""A body that zlib makes hardly smaller (random mantissas) stays as it is, because that reads faster."""


def _body(code: str, values: Iterable[float]) -> bytes:
    column = array(code, values)
    if BIG_ENDIAN:
        column.byteswap()
    return column.tobytes()


def pack_integers(values: Sequence[int]) -> Packed:
    """Pack a non-empty column of integers (steps, microseconds). OverflowError beyond int64."""
    first, count = values[0], len(values)
    stride = values[1] - first if count > 1 else 0
    if count == 1 or _is_arithmetic(values, stride):
        _check_int64(*sorted((first, values[-1])))
        return ("=", first, stride) if INT64_MIN <= stride <= INT64_MAX else (WIDEST, 0, _body("q", values))
    differences = list(map(operator.sub, values[1:], values))
    smallest, largest = min(differences), max(differences)
    # Columns mostly rise: then first and last are the extremes, and finding them costs nothing.
    lowest, highest = (first, values[-1]) if smallest >= 0 else (min(values), max(values))
    _check_int64(lowest, highest)
    if smallest < INT64_MIN or largest > INT64_MAX:
        return (WIDEST, 0, _body("q", values))
    if smallest == largest:
        return ("=", first, smallest)
    if smallest >= 0:
        for code, limit in DIFFERENCE_CODES:
            if largest <= limit:
                return (code, first, _body(code, differences))
    if lowest >= 0:
        for width, code, limit in DIRECT_CODES:
            if highest <= limit:
                return (width, 0, _body(code, values))
    return ("q", first, _body("q", differences))


def _check_int64(lowest: int, highest: int) -> None:
    if lowest < INT64_MIN or highest > INT64_MAX:
        raise OverflowError("an integer beyond 64 bits")


def _is_arithmetic(values: Sequence[int], stride: int) -> bool:
    first, stop = values[0], values[0] + stride * len(values)
    return stride != 0 and values[-1] == stop - stride and list(values) == list(range(first, stop, stride))


def pack_small(values: Sequence[int]) -> Packed:
    """Pack a non-empty column of integers that are mostly small and unordered; cheaper than `pack_integers`."""
    smallest, largest = min(values), max(values)
    if smallest == largest:
        return ("=", smallest, 0)
    if smallest >= 0:
        for width, code, limit in DIRECT_CODES:
            if largest <= limit:
                return (width, 0, _body(code, values))
    return pack_integers(values)


def pack_floats(values: Sequence[float]) -> Packed:
    """Pack a non-empty column of floats, in half the space where float32 holds them exactly."""
    doubles = _body("d", values)
    if doubles[:8] == doubles[-8:] and doubles == doubles[:8] * len(values):
        return ("*", values[0], b"")
    some = array("f", values[:PROBE_LENGTH])
    if _body("d", some) != doubles[: 8 * len(some)]:
        return ("d", 0.0, doubles)
    singles = array("f", values)
    if _body("d", singles) == doubles:
        return ("f", 0.0, _body("f", singles))
    return ("d", 0.0, doubles)


def compress(packed: Packed) -> Packed:
    """The column with its body compressed, or unchanged if compression gains little."""
    code, start, body = packed
    if not isinstance(body, bytes) or len(body) < MIN_COMPRESSED_BYTES or code not in NUMPY_TYPES:
        return packed
    width = _width(code)
    small = zlib.compress(b"".join(body[place::width] for place in range(width)), 1)
    return (COMPRESSED + code, start, small) if len(small) < MAX_COMPRESSION_RATIO * len(body) else packed


def _decompress(code: str, body: bytes, count: int) -> bytes:
    """The body of a compressed column; never more than `count` values, whatever the file says."""
    width = _width(code)
    try:
        grouped = zlib.decompressobj().decompress(body, count * width + 1)
    except zlib.error as error:
        raise JournalError(f"a compressed column is damaged ({error}); its points are skipped") from None
    if width == 1 or len(grouped) != count * width:
        return grouped  # the caller reports a wrong length
    whole = bytearray(len(grouped))
    for place in range(width):
        whole[place::width] = grouped[place * count : (place + 1) * count]
    return bytes(whole)


def _width(code: str) -> int:
    return int(NUMPY_TYPES[code][2])


def list_integers(packed: Sequence[Any], count: int) -> list[int]:
    """The column as Python integers, for processes without numpy; JournalError if it is malformed."""
    code, start, body = checked_column(packed, count, INTEGER_CODES)
    if code == "=":
        return [start + body * place for place in range(count)]
    if code.removeprefix(COMPRESSED) in ARRAY_CODES:
        return _column(code, body, count).tolist()
    return list(accumulate(_column(code, body, count - 1), initial=start))


def list_floats(packed: Sequence[Any], count: int) -> array[float]:
    """The column as doubles, for processes without numpy; JournalError if it is malformed."""
    code, start, body = checked_column(packed, count, FLOAT_CODES)
    if code == "*":
        return array("d", [start]) * count
    return array("d", _column(code, body, count))


def _column(code: str, body: object, count: int) -> array[Any]:
    plain, sound = checked_body(code, body, count)
    column: array[Any] = array(ARRAY_CODES.get(plain, plain))
    column.frombytes(sound)
    if BIG_ENDIAN:
        column.byteswap()
    return column


def unpack_integers(packed: Sequence[Any], count: int) -> IntArray:
    """The column as int64[count]; JournalError if it is malformed."""
    import numpy as np

    code, start, body = checked_column(packed, count, INTEGER_CODES)
    if code == "=":
        column = np.arange(count, dtype=np.int64)
        column *= body
        column += start
        return column
    if code.removeprefix(COMPRESSED) in ARRAY_CODES:
        return _numbers(code, body, count).astype(np.int64)
    column = np.empty(count, dtype=np.int64)
    column[0] = start
    column[1:] = _numbers(code, body, count - 1)
    return np.cumsum(column, out=column)


def unpack_floats(packed: Sequence[Any], count: int) -> FloatArray:
    """The column as float64[count]; JournalError if it is malformed."""
    import numpy as np

    code, start, body = checked_column(packed, count, FLOAT_CODES)
    if code == "*":
        return np.full(count, start, dtype=np.float64)
    return _numbers(code, body, count).astype(np.float64)


def _numbers(code: str, body: object, count: int) -> npt.NDArray[Any]:
    import numpy as np

    plain, sound = checked_body(code, body, count)
    return np.frombuffer(sound, dtype=NUMPY_TYPES[plain])


def checked_column(packed: Sequence[Any], count: int, codes: frozenset[str]) -> tuple[str, Any, Any]:
    """The parts of a plausible column: a code of its kind, a count that one flush can have, integers in range."""
    code, start, body = packed
    sound = 0 < count <= MAX_POINTS and code.removeprefix(COMPRESSED) in codes
    if codes is INTEGER_CODES:
        sound = sound and _is_int64(start) and (code != "=" or _is_int64(body))
    if not sound:
        raise JournalError(f"a column that claims {count} values is damaged (code {code!r}); its points are skipped")
    return code, start, body


def _is_int64(number: object) -> bool:
    return isinstance(number, int) and INT64_MIN <= number <= INT64_MAX


def checked_body(code: str, body: object, count: int) -> tuple[str, bytes]:
    """The code and the uncompressed body of a column; JournalError if it does not hold `count` values."""
    plain = code.removeprefix(COMPRESSED)
    if plain in NUMPY_TYPES and isinstance(body, bytes):
        whole = _decompress(plain, body, count) if plain != code else body
        if len(whole) == count * _width(plain):
            return plain, whole
    raise JournalError(f"a column of {count} values is damaged (code {code!r}); its points are skipped")
