"""The queue of media: bounded memory, and a rule for what is dropped that keeps steps evenly spread."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tracelet.media.media_value import Encoded
from tracelet.media.waiting_media import Waiting, WaitingMedia


@dataclass
class Sized:
    """A snapshot of some size."""

    nbytes: int

    def encode(self) -> Encoded:
        """Nobody encodes it."""
        raise NotImplementedError


def put(queue: WaitingMedia, name: str, step: int, size: int) -> None:
    """Log one value."""
    queue.put(Waiting(name, Sized(size), step, time=0))


def drained(queue: WaitingMedia) -> list[tuple[str, int]]:
    """What is recorded in the end."""
    found = []
    while (waiting := queue.first()) is not None:
        queue.release(waiting)
        found.append((waiting.name, waiting.step))
    return found


def test_every_second_value_of_the_largest_name_is_dropped_and_the_newest_stays() -> None:
    """One full queue halves the name that holds most, evenly over its steps, and leaves the others alone."""
    queue = WaitingMedia(limit=100)
    put(queue, "small", 0, 5)
    for step in range(10):
        put(queue, "large", step, 10)
    assert drained(queue) == [("small", 0), *(("large", step) for step in (1, 3, 5, 7, 9))]
    assert queue.thinned == {"large": 5}


def test_a_single_value_may_be_larger_than_the_limit() -> None:
    """It is recorded if it is the only one, and displaces what waited before it."""
    queue = WaitingMedia(limit=100)
    put(queue, "a", 0, 1000)
    put(queue, "b", 0, 2000)
    assert drained(queue) == [("b", 0)]
    assert queue.thinned == {"a": 1}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60)), max_size=60))
def test_memory_is_bounded_and_nothing_vanishes_uncounted(logged: list[tuple[str, int]]) -> None:
    """What waits never exceeds the limit unless it is one value; recorded and counted values are all that were put;
    the last one is always recorded, and the order is kept.
    """
    queue = WaitingMedia(limit=100)
    for step, (name, size) in enumerate(logged):
        put(queue, name, step, size)
    found = drained(queue)
    assert len(found) + sum(queue.thinned.values()) == len(logged)
    assert sum(logged[step][1] for _, step in found) <= 100
    assert [step for _, step in found] == sorted(step for _, step in found)
    assert not logged or found[-1] == (logged[-1][0], len(logged) - 1)
