"""Plots of one line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracelet.cli.sparkline import ASCII, BLOCKS, GAP, sparkline


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""), ([1.0], "▄"), ([2.0, 2.0, 2.0], "▄▄▄"), ([0.0, 1.0], "▁█"), ([0.0, np.nan, 1.0], "▁ █"),
        ([np.nan, np.nan], "  "), ([0.0, np.inf, 7.0], "▁ █"),
        ([-1e308, 0.0, 1e308], "▁▅█"), ([0, 1, 2, 3, 4, 5, 6, 7], BLOCKS),
    ],
)  # fmt: skip
def test_a_line_rises_with_the_values(values: list[float], line: str) -> None:
    """The least value is the lowest block, the greatest the highest, and what is no number a gap."""
    assert sparkline(np.array(values, dtype=float), 10) == line


def test_many_values_are_averaged() -> None:
    """More values than characters: each character is the mean of its share."""
    assert sparkline(np.array([0.0] * 50 + [1.0] * 50), 4) == "▁▁██"
    assert sparkline(np.array([0.0, 2.0] * 50), 5) == "▄▄▄▄▄"


def test_ascii_has_other_levels() -> None:
    """Without Unicode only ASCII is used."""
    assert sparkline(np.arange(6.0), 6, unicode=False) == ASCII


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 100), st.integers(1, 40))
@example(0.1, 7, 3)
def test_a_constant_is_a_flat_line(value: float, count: int, width: int) -> None:
    """However the values fall into the characters, rounding does not make one differ from another."""
    assert len(set(sparkline(np.full(count, value), width))) == 1


@example([8.98846567431158e307, 8.98846567431158e307], 1)
@given(st.lists(st.floats()), st.integers(1, 40))
def test_any_values_make_a_line(values: list[float], width: int) -> None:
    """Every series gives a line of at most the width, of levels and gaps."""
    line = sparkline(np.array(values, dtype=float), width)
    assert len(line) == min(len(values), width)
    assert set(line) <= {*BLOCKS, GAP}
