"""Which records of a batch a backend does not take."""

from __future__ import annotations

from typing import Any

import pytest

from tracelet.agent.delivery.isolation import MAX_CALLS, Isolation, records_of
from tracelet.backends.base import Batch, SeriesPart
from tracelet.errors import Rejected, Unavailable, Unexplained


def part(name: str) -> SeriesPart:
    return SeriesPart(name, [1], [0.5], [1.0], [-1])


def batch(*names: str) -> Batch:
    return Batch(id="b:0-1", points=[part(name) for name in names], params={"lr": 1, "bad": 2}, tags={"a": "b"})


def search(given: Batch, bad: set[str], error: Exception) -> tuple[list[Any], set[str], Isolation]:
    """What is refused by a backend that raises the error for these names, and what it took."""
    taken: set[str] = set()

    def send(half: Batch) -> None:
        names = {*(one.name for one in half.points), *half.params, *half.tags}
        if names & bad:
            raise error
        taken.update(names)

    found = Isolation(send, str)
    refused = [record for records, _ in found.refusals(given, error) for record in records]
    return refused, taken, found


@pytest.mark.parametrize("error", [Unexplained("500"), RuntimeError("odd")])
def test_only_the_bad_ones_are_refused(error: Exception) -> None:
    """One bad series among many and one bad parameter are found; everything else is delivered on the way."""
    names = [f"m{number}" for number in range(40)]
    refused, taken, found = search(batch(*names), {"m17", "bad"}, error)
    assert refused == [{"bad": 2}, part("m17")]
    assert taken == {*names, "lr", "a"} - {"m17"}
    assert found.accepted


def test_an_outage_on_the_way_is_raised() -> None:
    """What is known to pass is no refusal."""
    with pytest.raises(Unavailable):
        search(batch("a"), {"a"}, Unavailable("503"))


def test_a_refusal_that_the_backend_explains_is_kept() -> None:
    """`Rejected` names the records itself."""
    refused, _, _ = search(batch("a"), {"a"}, Rejected([part("a")], "no"))
    assert refused == [part("a")]


def test_where_nothing_is_taken_all_is_named() -> None:
    """A backend that takes nothing at all gets a bounded number of calls, and every record is listed."""
    names = [f"m{number}" for number in range(1000)]
    given = batch(*names)
    calls = 0

    def send(half: Batch) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("always")

    found = Isolation(send, str)
    refused = [record for records, _ in found.refusals(given, RuntimeError()) for record in records]
    assert (refused, found.accepted) == (records_of(given), False)
    assert calls <= MAX_CALLS + 20
