"""What became of a run's wall time: scripted lives, calculated by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.telemetry.reading.test_time_analysis import START, Made
from tracelet.capture.span_packing import pack_spans
from tracelet.journal.records import FINISHED, KILLED, Span, Started, Status
from tracelet.store.process_status import ProcessStatus
from tracelet.store.span_table import Source, tabulate
from tracelet.telemetry import names
from tracelet.telemetry.reading.goodput import RunTime, run_time
from tracelet.telemetry.reading.time_analysis import attribute

STEP = {names.DATA_LOADING: 10.0, names.MODEL_FORWARD: 60.0, names.MODEL_BACKWARD: 20.0, names.COLLECTIVE_WAIT: 5.0,
        names.CALLBACKS: 5.0}  # fmt: skip
"""100 ms, of which 80 are productive."""


class Attempt(Made):
    """One process: it prepares for 400 ms, trains from an iteration on, and ends in the middle of one or not."""

    def __init__(self, begin: float, first: int, count: int, age: float = 0.0, **ending: Any) -> None:
        super().__init__()
        self.opened: list[Span] = []
        self.begin, self.age = begin, age
        app = self._open(names.APPLICATION, begin, 0)
        loop = self._open(names.TRAINING_LOOP, begin + 400, app, train_iterations_start=first, fit=1)
        moment = begin + 400
        for number in range(count):
            moment = self.iteration(loop, moment, **STEP)
            if (first + number + 1) % 5 == 0:
                self.add(names.CHECKPOINT_SAVE_SYNC, moment, 50, loop)
                moment += 50
        self.end = moment + ending.get("into", 0.0)
        self.status = ending.get("status", KILLED)
        if self.status == FINISHED:
            for span in self.opened:
                self.rows.append((span.name, span.id, span.parent, span.start_ns,
                                  START + int(self.end * 1e6) - span.start_ns, 1, span.attributes))  # fmt: skip

    def _open(self, name: str, begin: float, parent: int, **attributes: Any) -> int:
        self.number += 1
        self.opened.append(
            Span(id=self.number, name=name, start_ns=START + int(begin * 1e6), parent=parent, thread=1,
                 attributes=attributes)
        )  # fmt: skip
        return self.number


def account(*ranks: list[Attempt]) -> RunTime:
    sources: list[Source] = []
    statuses: dict[int, ProcessStatus] = {}
    for rank, attempts in enumerate(ranks):
        for attempt, made in enumerate(attempts):
            number = len(sources)
            sources.append((number, rank, made.opened, [pack_spans(made.rows)]))
            started = Started(
                run="r", name="r", project="", host="h", pid=1, time=(START + int(made.begin * 1e6)) // 1000, rank=rank,
                attempt=attempt, process_age=made.age,
            )  # fmt: skip
            ended = (START + int(made.end * 1e6)) // 1000
            statuses[number] = ProcessStatus(started, Status(time=ended, status=made.status))
    found = run_time(attribute(tabulate(sources), statuses), statuses)
    assert found is not None
    assert sum(found.parts.values()) == pytest.approx(found.wall * found.ranks)
    return found


def test_one_attempt() -> None:
    """An uninterrupted training: imports and preparation are start-up, and nothing is lost."""
    found = account([Attempt(0, 0, 10, age=2.0, status=FINISHED)])
    assert found.wall == pytest.approx(2.0 + 0.4 + 1.0 + 0.1) and found.attempts == 1
    expected = {"productive": 0.8, "startup": 2.4, "data_wait": 0.1, "collective_wait": 0.05, "overhead": 0.05,
                "checkpoint": 0.1}  # fmt: skip
    assert {name: seconds for name, seconds in found.parts.items() if seconds > 1e-9} == pytest.approx(expected)
    assert found.goodput == pytest.approx(0.8 / 3.5)


@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_resumed_killed_and_finished(ranks: int) -> None:
    """Killed in iteration 13 after a checkpoint at 10, resumed, killed in iteration 17 after one at 15, finished."""
    lives = [
        [Attempt(0, 0, 13, into=40.0), Attempt(3000, 10, 7, into=20.0), Attempt(6000, 15, 10, status=FINISHED)]
        for _ in range(ranks)
    ]
    found = account(*lives)
    ends = [0.4 + 1.3 + 0.1 + 0.04, 3 + 0.4 + 0.7 + 0.05 + 0.02, 6 + 0.4 + 1.0 + 0.1]
    assert found.wall == pytest.approx(ends[-1]) and (found.attempts, found.ranks) == (3, ranks)
    expected = {
        "productive": 25 * 0.08, "startup": 3 * 0.4, "data_wait": 25 * 0.01, "collective_wait": 25 * 0.005,
        "overhead": 25 * 0.005, "checkpoint": 5 * 0.05, "lost": 0.34 + 0.22, "down": 3 - ends[0] + 6 - ends[1],
    }  # fmt: skip
    each = {name: seconds / ranks for name, seconds in found.parts.items() if seconds > 1e-9}
    assert each == pytest.approx(expected, rel=0.02)


def test_started_again_from_the_beginning() -> None:
    """An attempt without a checkpoint is lost, all of its training; and so is what two later attempts repeat."""
    found = account([Attempt(0, 0, 4), Attempt(1000, 0, 10), Attempt(4000, 5, 5, status=FINISHED)])
    assert found.parts["lost"] == pytest.approx(0.4 + 0.55) and found.parts["productive"] == pytest.approx(10 * 0.08)


def test_a_run_that_nobody_resumed() -> None:
    """What a killed process has done is not lost as long as nothing repeats it."""
    found = account([Attempt(0, 0, 4, into=30.0)])
    assert found.parts["lost"] == 0 and found.parts["unknown"] == pytest.approx(0.03)
