"""The columns that the dashboard keeps: whole series, up to a bound."""

from __future__ import annotations

from tests.unit.ui.conftest import Record
from tracelet.ui.series_cache import SeriesCache

POINTS = 2_000


def test_what_is_kept_is_bounded(record: Record) -> None:
    """However many series are looked at, no more bytes are kept than were allowed; all of them are answered whole."""
    names = [f"m{number}" for number in range(12)]
    run = record("many", {name: [float(step) for step in range(POINTS)] for name in names})
    whole = SeriesCache()
    assert len(whole.series(run, "m0")) == POINTS
    each = whole.bytes
    columns = SeriesCache(most_bytes=int(each * 3.5))
    for name in [*names, *reversed(names)]:
        assert columns.series(run, name).values.tolist() == [float(step) for step in range(POINTS)]
        assert columns.bytes <= each * 3.5
    assert columns.bytes >= each * 3, "what fits is kept"
    assert columns.series(run, names[0]) is columns.series(run, names[0]), "the last one is not read again"


def test_a_series_beyond_the_bound_is_answered(record: Record) -> None:
    """One that is larger than everything that may be kept is read all the same, and nothing is kept beside it."""
    run = record("large", {name: [0.5 + step for step in range(POINTS)] for name in ("a", "b")})
    columns = SeriesCache(most_bytes=100)
    for name in ("a", "b"):
        assert len(columns.series(run, name)) == POINTS
    single = SeriesCache()
    single.series(run, "b")
    assert columns.bytes <= single.bytes
