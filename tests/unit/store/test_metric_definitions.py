"""What is known of a metric: who says so first, and what is never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracelet
from tracelet.errors import InvalidArgument
from tracelet.journal.metric_definition import MetricDefinition
from tracelet.store.annotations import Annotations, write_annotations
from tracelet.store.metric_definitions import MetricDefinitions, common_goal
from tracelet.store.run import Run

QUIET = {f"track_{name}": False for name in ("lightning", "tensorboard", "system", "git", "env", "spans")} | {
    "quiet": True
}


def _recorded(define: bool = True) -> Run:
    with tracelet.start_logging("defined", config=QUIET) as experiment:
        for step, (wer, accuracy, loss) in enumerate([(0.9, 0.1, 3.0), (0.3, 0.8, 1.0), (0.5, 0.6, 2.0)]):
            tracelet.log({"val/wer": wer, "val/acc": accuracy, "loss": loss, "samples": 32.0 * step}, step=step)
        if define:
            tracelet.define_metric("val/wer", goal="min", summary="best")
            tracelet.define_metric("val/a*", goal="maximize")
            experiment.define_metric("loss", x="samples", summary="min")
    return tracelet.open_store().run(experiment.id)


def test_a_goal_says_which_value_is_the_best() -> None:
    """The lowest word error rate is the best one, the highest accuracy is; a pattern names several metrics."""
    run = _recorded()
    wer, accuracy = run.metric("val/wer"), run.metric("val/acc")
    assert (wer.goal, wer.source, wer.best, wer.best_step, wer.value) == ("min", "user", 0.3, 1, 0.3)
    assert (accuracy.goal, accuracy.best, accuracy.best_step, accuracy.value) == ("max", 0.8, 1, 0.6)


def test_an_axis_and_a_summary_are_defined_without_a_goal() -> None:
    """A metric may have another metric as its x axis, and its minimum as the value in lists."""
    loss = _recorded().metric("loss")
    assert (loss.x, loss.summary, loss.value, loss.goal, loss.best) == ("samples", "min", 1.0, "", None)


def test_an_unstated_goal_is_unknown() -> None:
    """Nothing is guessed from a name, and a metric without points has no values."""
    run = _recorded(define=False)
    loss, never = run.metric("loss"), run.metric("accuracy_of_nothing")
    assert (loss.goal, loss.source, loss.best, loss.best_step, loss.value, loss.x) == ("", "", None, None, 2.0, "step")
    assert (never.values, never.value, never.best) == (None, None, None)


@pytest.mark.parametrize(
    "wrong", [{"goal": "lower"}, {"goal": 1}, {"x": 3}, {"summary": "mean"}, {"name": ""}, {"name": 3}]
)
def test_a_word_without_a_meaning_is_an_error(wrong: dict[str, object]) -> None:
    """The message names the words that have one."""
    arguments: dict[str, object] = {"name": "loss", **wrong}
    with tracelet.start_logging("wrong", config=QUIET), pytest.raises(InvalidArgument, match=r"one of|axis|name"):
        tracelet.define_metric(**arguments)  # type: ignore[arg-type]


def test_without_a_run_nothing_is_defined() -> None:
    """As with log(): a program that is not being recorded runs on."""
    tracelet.define_metric("loss", goal="min")


def test_the_dashboard_comes_before_the_program_and_the_program_before_its_libraries(tmp_path: Path) -> None:
    """A later statement replaces an earlier one field by field; an annotation can also remove a goal."""

    def said(source: str, **what: str) -> MetricDefinition:
        return MetricDefinition(time=1, name="loss", source=source, **what)

    records = [said("user", goal="max", summary="max"), said("lightning", goal="min"), said("user", x="epoch")]
    found = MetricDefinitions(records, {}).of("loss")
    assert (found.goal, found.source, found.summary, found.x) == ("max", "user", "max", "epoch")
    assert MetricDefinitions(records, {"loss": "min"}).of("loss").goal == "min"
    removed = MetricDefinitions(records, {"loss": "unknown"}).of("loss")
    assert (removed.goal, removed.source) == ("", "dashboard")
    write_annotations(tmp_path, Annotations(goals={"loss": "max"}))
    assert Run(tmp_path).metric("loss").goal == "max"


def test_a_monitored_name_covers_the_two_series_that_lightning_makes_of_it() -> None:
    """`loss` is logged as `loss_step` and `loss_epoch`; what the program itself names means that name alone."""
    by_library = MetricDefinitions([MetricDefinition(time=1, name="loss", goal="min", source="lightning")], {})
    assert [by_library.of(name).goal for name in ("loss", "loss_epoch", "loss_step", "loss_x")] == ["min"] * 3 + [""]
    by_user = MetricDefinitions([MetricDefinition(time=1, name="loss", goal="min")], {})
    assert by_user.of("loss_epoch").goal == ""


def test_runs_that_contradict_each_other_have_no_common_goal() -> None:
    """A run that does not know follows those that do."""
    known = {
        goal: MetricDefinitions([MetricDefinition(time=1, name="m", goal=goal)], {}).of("m")
        for goal in ("min", "max", "")
    }
    assert common_goal([known["min"], known[""]]) == "min"
    assert common_goal([known["min"], known["max"]]) == common_goal([known[""]]) == ""
