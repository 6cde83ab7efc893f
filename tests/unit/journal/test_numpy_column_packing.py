"""Numpy columns are packed as sequences are, and come back bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracelet.journal.column_packing import pack_floats, pack_integers, unpack_floats, unpack_integers
from tracelet.journal.numpy_column_packing import pack_float_array, pack_integer_array

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.one_of(INT64, st.integers(-300, 300), st.integers(0, 70_000)), min_size=1, max_size=50))
def test_integers_come_back(values: list[int]) -> None:
    """Any int64 column, in no more bytes than the pure packer takes."""
    packed = pack_integer_array(np.array(values, dtype=np.int64))
    assert unpack_integers(packed, len(values)).tolist() == values
    body, plain = packed[2], pack_integers(values)[2]
    assert isinstance(body, int) or isinstance(plain, int) or len(body) <= max(len(plain), 8 * len(values))


@given(st.lists(st.one_of(st.floats(), st.floats(width=32)), min_size=1, max_size=50))
def test_floats_come_back_bit_for_bit(values: list[float]) -> None:
    """Any double, NaN with its bits, packed as the pure packer packs it."""
    column = np.array(values, dtype=np.float64)
    packed = pack_float_array(column)
    assert unpack_floats(packed, len(values)).tobytes() == column.tobytes()
    assert packed[0] == pack_floats(values)[0]
