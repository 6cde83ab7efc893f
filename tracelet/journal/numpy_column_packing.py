"""Packs numpy columns as `columns` packs sequences: for importers, which have whole arrays. Needs numpy; pure.

The codes are those of `columns`; what is packed here is unpacked there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracelet.journal.column_packing import DIFFERENCE_CODES, DIRECT_CODES, NUMPY_TYPES, WIDEST
from tracelet.journal.records import Packed

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray, IntArray


def pack_integer_array(values: IntArray) -> Packed:
    """Pack a non-empty int64[n] (steps, microseconds)."""
    import numpy as np

    first = int(values[0])
    if len(values) == 1:
        return ("=", first, 0)
    lowest, highest = int(values.min()), int(values.max())
    if highest - lowest >= 2**63:  # differences would not fit into 64 bits
        return (WIDEST, 0, values.astype("<i8").tobytes())
    differences = np.diff(values)
    smallest, largest = int(differences.min()), int(differences.max())
    if smallest == largest:
        return ("=", first, smallest)
    if smallest >= 0:
        for code, limit in DIFFERENCE_CODES:
            if largest <= limit:
                return (code, first, differences.astype(NUMPY_TYPES[code]).tobytes())
    if lowest >= 0:
        for width, _, limit in DIRECT_CODES:
            if highest <= limit:
                return (width, 0, values.astype(NUMPY_TYPES[width]).tobytes())
    return ("q", first, differences.astype("<i8").tobytes())


def pack_float_array(values: FloatArray) -> Packed:
    """Pack a non-empty float64[n], in half the space where float32 holds each value exactly, NaN bits included."""
    import numpy as np

    bits = values.view(np.uint64)
    if (bits == bits[0]).all():
        return ("*", float(values[0]), b"")
    with np.errstate(over="ignore", invalid="ignore"):
        singles = values.astype("<f4")
    if (singles.astype("<f8").view(np.uint64) == bits).all():
        return ("f", 0.0, singles.tobytes())
    return ("d", 0.0, values.astype("<f8").tobytes())
