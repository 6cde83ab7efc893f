"""Events as the commands put them into words."""

from __future__ import annotations

from typing import Any

import pytest

from tracelet.cli.event_text import describe_event
from tracelet.cli.formatting import date
from tracelet.journal.records import Event

FIT: dict[str, Any] = {"kind": "fit", "number": 1, "status": "finished", "seconds": 2.5}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"epochs": 3, "steps": 1000}, "fit 1 finished after 2.5s, 3 epochs, 1000 steps"),
        (
            {"epochs": 1, "steps": 1, "reason": "ValueError: x"},
            "fit 1 finished after 2.5s, 1 epoch, 1 step, ValueError: x",
        ),
        ({"epochs": 0, "steps": 0, "tuned": True}, "fit 1 finished after 2.5s, tuner trials"),
        ({"tuned": True, "reason": "ValueError: x"}, "fit 1 finished after 2.5s, tuner trials, ValueError: x"),
        ({"seconds": "x"}, "fit 1 finished"),
        ({}, "fit 1 finished after 2.5s"),
        ({"epochs": "x", "steps": None}, "fit 1 finished after 2.5s, x epochs"),
    ],
)
def test_the_end_of_a_fit_is_a_sentence(more: dict[str, Any], words: str) -> None:
    """What was trained is counted; a fit that a tuner made is not taken for a training of nothing."""
    assert describe_event(Event(time=1, name="fit_finished", attributes={**FIT, **more})) == words


def test_other_events_tell_their_attributes() -> None:
    """Name by name, on one line."""
    assert describe_event(Event(time=1, name="early_stopping", attributes={"monitor": "v", "epoch": 2})) == (
        "early_stopping monitor=v, epoch=2"
    )


def test_moments_of_the_clock_are_dates() -> None:
    """An attribute of seconds since the epoch is local time; one that is no number stays what it is."""
    attributes = {"first_save_timestamp_sec": 1795290000.5, "last_save_timestamp_sec": "x", "total_sec": 2.5}
    assert describe_event(Event(time=1, name="saved", attributes=attributes)) == (
        f"saved first_save_timestamp_sec={date(1795290000.5)}, last_save_timestamp_sec=x, total_sec=2.5"
    )
