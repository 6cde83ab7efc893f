"""Whether a run repeats another one: identical, within a tolerance, or different from a step on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.store.test_fits import end, program
from tracelet.store.run import Run
from tracelet.store.series_comparison import compare_runs

FIRST = [1.0, 2.0, float("nan")]


def recorded(folder: Path, values: list[float]) -> Run:
    """A run with these losses."""
    experiment = program(folder)
    for step, value in enumerate(values):
        experiment.log_metric("loss", value, step=step)
    return end(experiment)


@pytest.mark.parametrize(
    ("values", "verdict", "step"),
    [
        (FIRST, "identical", None),
        ([1.0, 2.0 + 1e-9, float("nan")], "within tolerance", 1),
        ([1.0, 2.5, float("nan")], "different", 1),
        ([1.0, 2.0], "different", 2),
        ([], "missing", None),
    ],
    ids=["same", "close", "other", "shorter", "none"],
)
def test_the_verdict_names_the_first_step_that_differs(
    tmp_path: Path, values: list[float], verdict: str, step: int | None
) -> None:
    """NaN equals NaN; a series that ends early differs where it ends."""
    (found,) = compare_runs(recorded(tmp_path / "a", FIRST), recorded(tmp_path / "b", values), 1e-6)
    assert (found.verdict, found.step) == (verdict, step)
