"""Names of metrics and parameters in ClearML: no two of ours become one of theirs."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as some

from tracelet.backends.base import SeriesPart
from tracelet.backends.clearml.scalar_events import changed_names, parameter_key, scalar_events, titled

WORDS = some.sampled_from(["loss", "a", "General", "tracelet", "", "x (NaN)", "a (inf)", ":monitor:machine"])
NAMES = some.lists(WORDS, min_size=1, max_size=4).map("/".join)


def part(name: str, value: float = 0.5) -> SeriesPart:
    return SeriesPart(name, [1], [value], [1.0], [-1])


def places(name: str) -> set[tuple[str, str]]:
    """Where the finite and the other values of a metric go."""
    found = set()
    for value in (0.5, math.nan, math.inf, -math.inf):
        (event,) = scalar_events([part(name, value)])
        entry = event.get_api_event().to_dict()
        found.add((entry["metric"], entry["variant"]))
    return found


@given(NAMES, NAMES)
def test_two_metrics_never_share_a_series(one: str, other: str) -> None:
    """Neither by a repeated word, nor by the endings of series for NaN and infinities, nor by the machine's title."""
    if one != other:
        assert not places(one) & places(other)


@given(NAMES, NAMES)
def test_two_parameters_never_share_a_place(one: str, other: str) -> None:
    """`lr` is in the section General, and `General/lr` is another one."""
    assert (parameter_key(one) == parameter_key(other)) == (one == other)


def test_usual_names_stay_as_they_are() -> None:
    """What stands before the first slash is the title; only names that meet others are changed, and reported."""
    assert titled(part("loss")) == ("loss", "loss")
    assert titled(part("val/loss/head")) == ("val", "loss/head")
    assert parameter_key("optimizer/lr") == "optimizer/lr"
    assert list(changed_names([part("loss"), part("val/loss"), part("loss/loss")])) == ["loss/loss"]
