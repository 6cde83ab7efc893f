"""Where the time went, from span tables that are made up: shares, trends, slow ones, stragglers, findings."""

from __future__ import annotations

from typing import Any

import pytest

from tracelet.capture.span_packing import pack_spans
from tracelet.journal.records import Span
from tracelet.store.span_table import SpanTable, tabulate
from tracelet.telemetry import names
from tracelet.telemetry.reading.findings import findings
from tracelet.telemetry.reading.process_times import CATEGORIES, ProcessTimes
from tracelet.telemetry.reading.time_analysis import analyse

MS = 1_000_000
START = 1_700_000_000_000 * MS


class Made:
    """Builds the spans of one process; times in milliseconds."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.number = 0

    def add(self, name: str, start: float, duration: float, parent: int = 0, thread: int = 1, **attributes: Any) -> int:
        self.number += 1
        begin = START + int(start * MS)
        self.rows.append((name, self.number, parent, begin, int(duration * MS), thread, attributes or None))
        return self.number

    def iteration(self, loop: int, start: float, **phases: float) -> float:
        """One iteration of these phases; when it ends."""
        total = sum(phases.values())
        number = self.add(names.TRAINING_ITERATION, start, total, loop)
        for name, duration in phases.items():
            self.add(name, start, duration, number)
            start += duration
        return start


def table(*processes: Made, opened: tuple[Span, ...] = ()) -> SpanTable:
    return tabulate(
        [
            (number, number, opened if number == 0 else (), [pack_spans(made.rows)])
            for number, made in enumerate(processes)
        ]
    )


def training(count: int = 10, slow: dict[int, float] | None = None, **phases: float) -> tuple[Made, ProcessTimes]:
    made = Made()
    shape = phases or {"data_loading": 60.0, "model_forward": 20.0, "model_backward": 15.0, "optimizer_update": 5.0}
    app = made.add(names.APPLICATION, 0, 100 + count * 200)
    loop = made.add(names.TRAINING_LOOP, 50, count * 150, app)
    moment = 60.0
    for number in range(count):
        extra = {"data_loading": shape["data_loading"] + (slow or {}).get(number, 0.0)}
        moment = made.iteration(loop, moment, **{**shape, **extra})
    return made, analyse(table(made))[0]


def test_shares_add_up() -> None:
    """The parts are those of the phases, and all together are the application's time."""
    _, times = training()
    assert times.total == pytest.approx(2.1) and sum(times.parts.values()) == pytest.approx(times.total)
    assert times.parts["loading"] == pytest.approx(0.6) and times.parts["forward"] == pytest.approx(0.2)
    assert times.parts["backward"] == pytest.approx(0.15) and times.parts["optimizer"] == pytest.approx(0.05)
    assert times.goodput == pytest.approx(0.4 / 2.1) and times.iterations == 10
    assert list(times.parts) == [name for name in CATEGORIES if name in times.parts]


def test_what_lies_deeper_counts_there() -> None:
    """A checkpoint inside a callback is a checkpoint, a validation inside a training is validation, and each counts
    once.
    """
    made = Made()
    app = made.add(names.APPLICATION, 0, 1000)
    loop = made.add(names.TRAINING_LOOP, 0, 900, app)
    step = made.add(names.TRAINING_ITERATION, 0, 400, loop)
    made.add(names.MODEL_FORWARD, 0, 100, step)
    made.add(names.CALLBACKS, 100, 300, step)
    made.add(names.CHECKPOINT_SAVE_SYNC, 150, 200, step)
    check = made.add(names.VALIDATION_LOOP, 400, 300, loop)
    inner = made.add(names.VALIDATION_ITERATION, 400, 300, check)
    made.add(names.DATA_LOADING, 400, 200, inner)
    made.add(names.CHECKPOINT_SAVE_FINALIZATION, 350, 400, step, thread=2)
    (times,) = analyse(table(made))
    assert times.parts == pytest.approx(
        {"forward": 0.1, "callbacks": 0.1, "checkpoints": 0.2, "validation": 0.3, "other": 0.3}
    )


def test_trials_are_tuning() -> None:
    """What a tuner tried out is tuning and none of the training's iterations."""
    made = Made()
    app = made.add(names.APPLICATION, 0, 1000)
    trial = made.add(names.TRAINING_LOOP, 0, 500, app, trial=True)
    made.iteration(trial, 0, data_loading=100, model_forward=300)
    (times,) = analyse(table(made))
    assert times.parts == pytest.approx({"tuning": 0.5, "other": 0.5}) and times.iterations == 0 and times.training == 0


def test_spans_of_the_program_are_rows_of_their_own() -> None:
    """What has no category goes to the span that lies deepest; one inside a phase, or around the whole loop, gets none
    of what these explain, and one that is called as a category is told apart from it.
    """
    made = Made()
    app = made.add(names.APPLICATION, 0, 1000)
    outer = made.add("experiment", 0, 1000, app)
    made.add("preprocess", 0, 200, outer)
    loop = made.add(names.TRAINING_LOOP, 300, 600, outer)
    step = made.add(names.TRAINING_ITERATION, 300, 600, loop)
    augment = made.add("augment", 300, 300, step)
    made.add("loading", 350, 50, augment)
    made.add(names.MODEL_FORWARD, 500, 200, step)
    made.add("attention", 610, 50, step)
    made.add("augment", 800, 50, step)
    made.add("preprocess", 0, 900, outer, thread=2)
    (times,) = analyse(table(made))
    assert times.parts == pytest.approx(
        {
            "before training": 0.1, "forward": 0.2, "preprocess": 0.2, "augment": 0.2, "loading (span)": 0.05,
            "other": 0.25,
        }
    )  # fmt: skip
    assert next(iter(times.parts)) == "before training" and list(times.parts)[-1] == "other"
    assert times.within["other"] == pytest.approx(
        {"in training iterations": 0.15, "in training loops, between iterations": 0.0, "outside training loops": 0.1}
    )


def test_only_the_largest_spans_of_the_program_have_rows() -> None:
    """A program may name thousands of spans: the rest of them is summed, and is not told to be unexplained."""
    made = Made()
    app = made.add(names.APPLICATION, 0, 10_000)
    for number in range(100):
        made.add(f"file-{number}", number * 100, 100 if number else 99, app)
    (times,) = analyse(table(made))
    assert len(times.parts) == 9 and sum(times.parts.values()) == pytest.approx(10.0)
    assert times.parts["other"] == pytest.approx(9.2) and findings([times], {}, {}) == []


def test_slowest_and_trend() -> None:
    """The slowest iterations are named with what took most of them, and the thirds are compared."""
    _, times = training(12, slow={3: 2000.0, 11: 900.0})
    assert [slow.number for slow in times.slowest[:2]] == [3, 11]
    assert times.slowest[0].phase == "loading" and times.slowest[0].phase_seconds == pytest.approx(2.06)
    assert times.slow_count == 2 and times.slow_seconds == pytest.approx(2.9)
    assert times.first_third["iteration"] == pytest.approx(0.6) and times.last_third["loading"] == pytest.approx(0.285)


def test_open_spans_last_until_the_end() -> None:
    """Spans that never ended count until the last thing that was seen."""
    opened = Span(id=900, name=names.APPLICATION, start_ns=START, thread=1)
    made = Made()
    made.add(names.MODEL_INIT, 0, 700, 900)
    (times,) = analyse(table(made, opened=(opened,)))
    assert times.open == [names.APPLICATION] and times.total == pytest.approx(0.7)
    assert "Rank 0 ended while it was in application." in [found.text for found in findings([times], {}, {})]


def test_nothing() -> None:
    """A run without spans has no times and no findings."""
    assert analyse(table()) == [] and findings([], {}, {}) == []


def said(times: list[ProcessTimes], **params: Any) -> list[str]:
    environment = {"machine": {"cpu_usable": 16}}
    return [
        found.text for found in findings(times, {name.replace("__", "/"): v for name, v in params.items()}, environment)
    ]


def test_a_loader_that_is_waited_for() -> None:
    """Waiting for data is told with the workers that there were."""
    _, times = training(20, data_loading=300.0, model_forward=50.0)
    (text,) = said([times], data__train__workers=0)
    assert text.endswith("of the training loop is spent waiting for data; the data loader uses 0 workers on 16 cores.")


def test_slow_ones_and_trend_are_told() -> None:
    """Outliers and a training that becomes slower are told with figures."""
    shape = {"data_loading": 0.1, "model_forward": 99.9}
    _, times = training(30, slow={7: 3000.0}, **shape)
    assert any(
        text.startswith("1 of 30 iterations took more than five times the median of 100.0 ms") for text in said([times])
    )
    _, times = training(30, slow=dict.fromkeys(range(20, 30), 60.0), **shape)
    assert any(
        "Iterations slowed down: 100.0 ms in the first third, 160.0 ms in the last" in text for text in said([times])
    )


def test_time_that_no_span_explains_is_told() -> None:
    """More than half of the time without a name is told with where most of it lies, and what to type."""
    made = Made()
    app = made.add(names.APPLICATION, 0, 10_000)
    loop = made.add(names.TRAINING_LOOP, 1000, 9000, app)
    made.add(names.TRAINING_ITERATION, 1000, 8000, loop)
    made.add(names.TRAINING_ITERATION, 9000, 500, loop)
    assert said(analyse(table(made))) == [
        (
            "90% of the time (9.0 s) is not in any span, 8.5 s of it in training iterations. "
            "To see what happens there, add spans: with tracelet.span('name'):"
        )
    ]
    made.add("preprocess", 1000, 6000, loop)
    assert said(analyse(table(made))) == []


def test_callbacks_checkpoints_and_initialization() -> None:
    """Callbacks, checkpoints, validation and a long beginning are told when they take much."""
    made = Made()
    app = made.add(names.APPLICATION, 0, 60_000)
    made.add(names.MODEL_INIT, 0, 20_000, app)
    loop = made.add(names.TRAINING_LOOP, 20_000, 10_000, app)
    made.iteration(loop, 20_000, data_loading=1, model_forward=1000, callbacks=3000, metric_logging=1500)
    made.add(names.CHECKPOINT_SAVE_SYNC, 27_000, 1000, loop)
    made.add(names.VALIDATION_LOOP, 28_000, 2600, loop)
    texts = " ".join(said(analyse(table(made))))
    expected = (
        "30% of the training loop is spent in callbacks", "15% of the training loop is spent in logging metrics",
        "Saving and loading checkpoints takes 1.0 s", "Validation takes 2.6 s", "Initialization took 20 s",
    )  # fmt: skip
    assert [words for words in expected if words not in texts] == []


def test_what_takes_most_is_named() -> None:
    """Callbacks name the hook, a validation that waits for data says so, and a long beginning what it spends itself on;
    of several ranks the one that waits longest for its data is meant.
    """
    made = Made()
    app = made.add(names.APPLICATION, 0, 60_000)
    made.add(names.DIST_INIT, 0, 20_000, app)
    loop = made.add(names.TRAINING_LOOP, 20_000, 10_000, app)
    made.iteration(loop, 20_000, data_loading=1, model_forward=1000)
    check = made.add(names.VALIDATION_LOOP, 23_000, 3000, loop)
    made.iteration(check, 23_000, data_loading=2500, model_forward=400)
    made.add(names.CALLBACKS, 27_000, 2000, loop, hook="on_validation_end")
    late, _ = training(20, data_loading=130.0, model_forward=5.0)
    texts = said(analyse(table(made, late)), data__train__workers=2)
    assert [text for text in texts if not text.startswith("Rank")] == [
        "Validation takes 3.0 s, or 30% of the time in training loops; 2.5 s of it is waiting for data.",
        "87% of the training loop of rank 1 is spent waiting for data; the data loader uses 2 workers on 16 cores.",
        "20% of the training loop is spent in callbacks (2.0 s), 2.0 s of it in on_validation_end.",
        (
            "57% of the time (34.0 s) is not in any span, 30.0 s of it outside training loops. "
            "To see what happens there, add spans: with tracelet.span('name'):"
        ),
    ]


def test_who_launches_others_is_not_asked() -> None:
    """A process that trains nothing beside ranks that do is no measure of the training."""
    launcher = Made()
    launcher.add(names.APPLICATION, 0, 60_000)
    rank, _ = training(20, data_loading=300.0, model_forward=50.0)
    (text,) = said(analyse(table(launcher, rank)))
    assert "of the training loop is spent waiting for data" in text


def test_a_short_training_says_nothing() -> None:
    """Shares of a training of less than a second are noise: nothing is said about them, nor about its ranks."""
    quick, times = training(3, data_loading=10.0, model_forward=1.0)
    slow, _ = training(3, data_loading=90.0, model_forward=1.0)
    assert times.training < 1 and said(analyse(table(quick, slow, quick))) == []
