"""`tracelet compare`: what it calls a difference."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

from tracelet.cli.compare import differing
from tracelet.store.run import Run

Record = Callable[..., Run]
Call = Callable[..., Result]


def test_only_differing_parameters_are_listed(record: Record, call: Call) -> None:
    """A parameter that is equal in all runs is left out, one that a run lacks is shown."""
    record("a", params={"lr": 0.1, "seed": 1, "only": True})
    record("b", params={"lr": 0.2, "seed": 1})
    found = json.loads(call("compare", "a", "b", "--json").output)
    assert found["params"] == {"lr": [0.1, 0.2], "only": [True, None]}
    output = call("compare", "a", "b").output
    assert "seed" not in output
    assert "0.2" in output


def test_metrics_are_set_side_by_side(record: Record, call: Call) -> None:
    """Last, least and greatest value of each run, also for three runs; nothing where a run has no such metric."""
    record("a", {"loss": [2.0, 1.0]})
    record("b", {"loss": [4.0, 5.0]})
    record("c", {"other": [1.0]})
    found = json.loads(call("compare", "a", "b", "c", "--json", "--metric", "loss").output)["metrics"]
    assert found == {
        "loss": {"last": [1.0, 5.0, None], "min": [1.0, 4.0, None], "max": [2.0, 5.0, None], "count": [2, 2, None]}
    }
    assert "loss" in call("compare", "a", "b", "c").output


def test_one_run_is_not_enough(record: Record, call: Call) -> None:
    """A single run, or a metric that no run has, is a usage error that says what to type."""
    record("a", {"loss": [1.0]})
    record("b")
    assert "two runs" in call("compare", "a", code=2).stderr
    assert "Did you mean: loss" in call("compare", "a", "b", "--metric", "los", code=2).stderr


def test_nan_equals_nan_and_one_is_not_true() -> None:
    """Equal means the same value of the same kind."""
    nan = float("nan")
    assert differing([{"x": nan}, {"x": nan}]) == {}
    assert differing([{"x": 1}, {"x": True}]) == {"x": [1, True]}
    assert differing([{"x": None}, {}]) == {"x": [None, None]}


def test_none_is_told_from_nothing(record: Record, call: Call) -> None:
    """A parameter that is None is printed so, one that a run lacks as a dash."""
    record("a", params={"clip": None, "seed": 1})
    record("b", params={"clip": 0.5})
    record("c")
    rows = [line.split() for line in call("compare", "a", "b", "c").output.splitlines()]
    assert ["clip", "None", "0.5", "-"] in rows
    assert ["seed", "1", "-", "-"] in rows


def test_unknown_code_is_not_called_equal(record: Record, call: Call) -> None:
    """Where neither the code nor the packages of any run were recorded, this is said instead of `identical`."""
    record("a", {"loss": [1.0]})
    record("b", {"loss": [1.0]})
    output = call("compare", "a", "b").output
    told = next(line for line in output.splitlines() if line.startswith("No differences: "))
    assert "code (not recorded)" in told
    assert "packages (not recorded)" in told
    assert "parameters," in told


def test_columns_are_headed_by_the_names_of_the_runs(record: Record, call: Call) -> None:
    """A name that two of them have is followed by the beginning of the id."""
    runs = [record(name, {"loss": [1.0]}) for name in ("base", "twin", "twin")]
    head = call("compare", *(run.id for run in runs)).output.splitlines()[0].split("  ")
    assert [text.strip() for text in head if text.strip()] == ["base", *(f"twin ({run.id[:5]})" for run in runs[1:])]


def test_long_names_leave_room_for_figures(record: Record, call: Call) -> None:
    """In a terminal the middle of a long name is left out, of metrics and of parameters."""
    for name, lr in (("a", 0.1), ("b", 0.2)):
        record(name, {"m" * 500: [7.5]}, params={"p" * 500: lr})
    lines = call("compare", "a", "b", env={"COLUMNS": "90"}).output.splitlines()
    assert [line.split()[-2:] for line in lines if "..." in line] == [["0.1", "0.2"], ["7.5", "7.5"]]
