"""`tracelet compare`: what it calls a difference."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

from tracelet.cli.compare import differing
from tracelet.run import Run

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
    assert "Near: loss" in call("compare", "a", "b", "--metric", "los", code=2).stderr


def test_nan_equals_nan_and_one_is_not_true() -> None:
    """Equal means the same value of the same kind."""
    nan = float("nan")
    assert differing([{"x": nan}, {"x": nan}]) == {}
    assert differing([{"x": 1}, {"x": True}]) == {"x": [1, True]}
    assert differing([{"x": None}, {}]) == {"x": [None, None]}
