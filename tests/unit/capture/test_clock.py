"""The clock of records follows the wall clock, but never back."""

from __future__ import annotations

import time

import pytest

import tracelet
from tracelet.capture import clock
from tracelet.session import experiment


def test_a_clock_that_is_set_back_counts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour back: the time of records counts on with what has really passed; an hour ahead is the new time."""
    before = clock.now()
    monkeypatch.setattr(clock, "_wall", lambda: time.time() - 3600)
    assert before <= clock.now() + 1_000_000 <= before + 60_000_000
    monkeypatch.setattr(clock, "_wall", lambda: time.time() + 3600)
    assert clock.now() >= before + 3600_000_000


def test_a_run_whose_clock_is_set_back_has_its_last_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last value is the one logged last, and the duration is not negative."""
    with tracelet.start_logging("back", config={"delivery": "off", "quiet": True}) as run:
        run.log_metric("loss", 2.0, 0)
        run.flush()
        monkeypatch.setattr(experiment, "_clock", lambda: time.time() - 3600)
        monkeypatch.setattr(clock, "_wall", lambda: time.time() - 3600)
        run.log_metric("loss", 1.0, 1)
        run.flush()
        assert tracelet.open_store().run(run.id).summary("loss").last_step == 1
    found = tracelet.open_store().run(run.id)
    assert (found.summary("loss").last, found.summary("loss").last_step) == (1.0, 1)
    assert 0 <= found.info.duration < 60
