"""Numbers, times and JSON as the commands print them."""

from __future__ import annotations

import json
import math
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelet.cli.formatting import ago, as_json, counted, duration, number, size, value, visible


@pytest.mark.parametrize(("count", "text"), [(0, "0 points"), (1, "1 point"), (12_000, "12,000 points")])
def test_one_is_not_many(count: int, text: str) -> None:
    """A noun has an s for all numbers but one."""
    assert counted(count, "point") == text


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (3.0, "3"),
        (0.1 + 0.2, "0.3"),
        (1e300, "1e+300"),
        (math.nan, "NaN"),
        (-math.inf, "-inf"),
        (1234567.5, "1.23457e+06"),
    ],
)
def test_numbers_have_six_digits(found: float, text: str) -> None:
    """Whole numbers stand in full, others with six significant digits."""
    assert number(found) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (59.4, "59s"),
        (60, "1m 00s"),
        (3599.6, "1h 00m"),
        (90061, "1d 01h"),
        (-1, "0.0s"),
    ],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    """A duration is told in its two largest units, and never with 60 of the smaller one."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "just now"), (59, "just now"), (61, "1 minute ago"), (7300, "2 hours ago"), (86401, "1 day ago")],
)
def test_moments_are_told_from_now(seconds: float, text: str) -> None:
    """A moment within the last month is told by its distance, one in the future (another clock) as now."""
    assert ago(time.time() - seconds) == text


def test_sizes_and_values() -> None:
    """Bytes have decimal units; a value is always one line."""
    assert [size(n) for n in (0, 999, 1000, 1_500_000)] == ["0 B", "999 B", "1.0 KB", "1.5 MB"]
    assert [value(x) for x in (True, None, 3, 0.25, "a\nb", ["x", 1])] == [
        "True",
        "None",
        "3",
        "0.25",
        "a\\nb",
        '["x", 1]',
    ]


@given(st.dictionaries(st.text(), st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.none())))
def test_json_is_exact(found: dict[str, list[float | str | None]]) -> None:
    """Whatever is finite comes back as it was."""
    assert json.loads(as_json(found)) == found


@given(st.text())
def test_texts_of_runs_hold_nothing_that_a_terminal_obeys(text: str) -> None:
    """No control character of any kind is left, on one line for values; printable text stays as it is."""
    assert all(unicodedata.category(letter) != "Cc" for letter in value(text))
    assert all(unicodedata.category(letter) != "Cc" or letter in "\n\t" for letter in visible(text))
    assert all(unicodedata.category(letter) != "Cc" or letter == "\n" for letter in as_json([text]))
    assert json.loads(as_json(text)) == text
    if text.isprintable():
        assert value(text) == visible(text) == text


def test_controls_are_shown_as_escapes() -> None:
    """What was there can be read: escape, bell, the one-byte CSI, and what turns the direction of writing."""
    assert visible("a\x1b]0;t\x07\x9b2J\u202eb\tc\nd") == "a\\x1b]0;t\\x07\\x9b2J\\u202eb\tc\nd"
    assert value("a\nb\r") == "a\\nb\\x0d"
