"""Grid order, types, distributions and early termination equal those of `sweeps`, the engine of wandb."""

from __future__ import annotations

import math
import random
import statistics
import warnings
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelet.sweeps.grid import grid_parameters, grid_places, grid_size
from tracelet.sweeps.hyperband import Hyperband
from tracelet.sweeps.objective import Objective
from tracelet.sweeps.parameter import Parameter
from tracelet.sweeps.sweep_config import SweepConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pydantic's, about the way in which the models of `sweeps` are written
    import sweeps
    from sweeps.config.schema import fill_parameter
    from sweeps.params import HyperParameter

DRAWS = 10_000
QUANTILES = (numpy.arange(DRAWS) + 0.5) / DRAWS
SEPARATOR = ".wbnest[599c28ca25da]."
THEIR_NAMES = {
    "constant": "single_value", "categorical": "categorical", "log_normal": "lognormal", "q_uniform": "quniform",
    "q_normal": "qnormal", "q_log_normal": "qlognormal", "log_uniform": "loguniform", "q_log_uniform": "qloguniform",
    "log_uniform_values": "loguniform_v2", "q_log_uniform_values": "qloguniform_v2", "q_beta": "qbeta",
    "inv_log_uniform": "inv_loguniform", "inv_log_uniform_values": "inv_loguniform_v2",
}  # fmt: skip
"""Our names of distributions, which are those of a configuration, to those of their schema where these differ."""
DISTRIBUTED: list[dict[str, Any]] = [
    {"value": [1, {"a": 2}]}, {"values": ["a", 1, True, None]}, {"values": [1, 2], "probabilities": [0.25, 0.75]},
    {"min": 1, "max": 8}, {"min": 1, "max": 8.0}, {"min": 1.0, "max": 8}, {"min": -1.5, "max": 2.5},
    {"distribution": "uniform", "min": 1, "max": 8}, {"distribution": "q_uniform", "min": 0, "max": 10, "q": 2},
    {"distribution": "q_uniform", "min": 0.1, "max": 1.3, "q": 0.25}, {"distribution": "q_uniform", "min": 0, "max": 9},
    {"distribution": "log_uniform", "min": -3, "max": 1},
    {"distribution": "log_uniform_values", "min": 0.01, "max": 10},
    {"distribution": "q_log_uniform", "min": 0, "max": 4, "q": 2},
    {"distribution": "q_log_uniform_values", "min": 1, "max": 60, "q": 0.5},
    {"distribution": "inv_log_uniform", "min": -3, "max": 1},
    {"distribution": "inv_log_uniform_values", "min": 0.01, "max": 10},
    {"distribution": "normal"}, {"distribution": "normal", "mu": 3, "sigma": 0.5},
    {"distribution": "q_normal", "mu": 3, "sigma": 5, "q": 2}, {"distribution": "log_normal", "sigma": 0.5},
    {"distribution": "q_log_normal", "mu": 2, "sigma": 0.5, "q": 1}, {"distribution": "beta"},
    {"distribution": "beta", "a": 2, "b": 5}, {"distribution": "q_beta", "a": 2, "b": 5, "q": 0.1},
]  # fmt: skip


def parameter(config: dict[str, Any]) -> Parameter:
    """The only parameter of a configuration."""
    (found,) = SweepConfig.read({"method": "random", "parameters": {"p": config}}).parameters
    return found


def quantiles(theirs: HyperParameter) -> list[Any]:
    """10,000 values of theirs, without numpy's types."""
    if theirs.type == HyperParameter.CONSTANT:
        return [theirs.value]
    if theirs.type == HyperParameter.CATEGORICAL_PROB:  # of an array it makes something else than of its items
        return [theirs.ppf(float(place)) for place in QUANTILES]
    return [value.item() if isinstance(value, numpy.generic) else value for value in theirs.ppf(QUANTILES)]


@pytest.mark.parametrize("config", DISTRIBUTED, ids=str)
def test_values_have_the_distribution_that_wandb_gives_them(config: dict[str, Any]) -> None:
    """The inferred distribution is wandb's, and so are the types, and mean and spread of 10,000 draws of each."""
    ours = parameter(config)
    their_name, _ = fill_parameter("p", dict(config))
    assert their_name == f"param_{THEIR_NAMES.get(ours.distribution, ours.distribution)}"
    theirs = HyperParameter("p", dict(config))
    low, high, kind = ours.interval
    chance = random.Random(7)
    draw = chance.uniform if kind == "real" else lambda low, high: chance.randint(int(low), int(high))
    drawn = [ours.value(draw(low, high)) for _ in range(DRAWS)]
    reference = quantiles(theirs)
    assert {type(value) for value in drawn} == {type(value) for value in reference}
    if isinstance(drawn[0], (int, float)) and "values" not in config:
        mean, spread = statistics.fmean(reference), statistics.pstdev(reference)
        assert abs(statistics.fmean(drawn) - mean) < 4 * spread / math.sqrt(DRAWS)
        assert statistics.pstdev(drawn) == pytest.approx(spread, rel=0.06)
    elif len(reference) > 1:
        for value in reference[:: DRAWS // 8]:
            assert abs(drawn.count(value) - reference.count(value)) < 2 * math.sqrt(DRAWS)
    else:
        assert drawn == reference * DRAWS


def test_a_parameter_of_the_probability_zero_never_comes() -> None:
    """Probabilities whose sum misses 1 by rounding do not let an impossible value through."""
    ours = parameter({"values": ["a", "b", "c"], "probabilities": [0.9999999, 0.0, 0.0]})
    assert [ours.value(place) for place in (0.5, 0.99999999, 1 - 1e-12)] == ["a", "a", "a"]


GRIDS: list[dict[str, Any]] = [
    {"b": {"values": [3, 1, 2]}, "a": {"values": ["x", "y"]}},
    {"z": {"min": 1, "max": 3}, "a": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, "k": {"value": 5}},
    {"n": {"parameters": {"y": {"values": [1, 2]}, "b": {"values": [True, None]}}}, "m": {"values": [[1], {"a": 2}]}},
    {"b": {"values": [1, 1.0, True, "1", 1]}, "a": {"values": [2]}},
]


@pytest.mark.parametrize("parameters", GRIDS, ids=str)
def test_a_grid_has_wandbs_points_in_wandbs_order(parameters: dict[str, Any]) -> None:
    """The same combinations in the same order, each once."""
    config = {"method": "grid", "parameters": parameters}
    ours = SweepConfig.read(config)
    listed = grid_parameters(ours.parameters)
    places = grid_places(listed, 1000)
    found: list[Any] = [ours.nested_values({p.name: p.value(at.get(p.name, 0)) for p in listed}) for at in places]
    runs = [run for run in sweeps.next_runs(config, [], n=1000) if run is not None]
    assert found == [{name: entry["value"] for name, entry in run.config.items()} for run in runs]
    assert str(found) == str([{name: entry["value"] for name, entry in sorted(run.config.items())} for run in runs])
    assert grid_size(ours.parameters) == len(found)


def stopped_by_wandb(config: dict[str, Any], histories: list[list[float]], running: list[bool]) -> list[int]:
    """The numbers of the trials that wandb's engine stops."""
    runs = [
        sweeps.SweepRun(
            name=str(number), state=sweeps.RunState.running if alive else sweeps.RunState.finished,
            history=[{"loss": value} for value in history],
        )
        for number, (history, alive) in enumerate(zip(histories, running))
    ]  # fmt: skip
    return [int(run.name) for run in sweeps.stop_runs(config, runs)]


def stopped_by_us(config: dict[str, Any], histories: list[list[float]], running: list[bool]) -> list[int]:
    """The numbers of the trials that our rule stops."""
    read = SweepConfig.read(config)
    rule, objective = read.early_terminate, read.objective
    assert isinstance(rule, Hyperband) and isinstance(objective, Objective)
    costs = [[objective.cost(value) for value in history] for history in histories]
    at_bands = [{band: found[band - 1] for band in rule.bands if band <= len(found)} for found in costs]
    limits = rule.thresholds(at_bands)
    return [number for number, found in enumerate(costs) if running[number] and rule.reason(found, limits)]


TERMINATIONS = st.one_of(
    st.fixed_dictionaries({"min_iter": st.integers(1, 4), "eta": st.sampled_from([1.5, 2, 3, 4])}),
    st.fixed_dictionaries(
        {"max_iter": st.integers(9, 243), "s": st.integers(1, 4), "eta": st.sampled_from([2, 3])}
    ),
)  # fmt: skip


@given(
    TERMINATIONS, st.sampled_from(["minimize", "maximize"]), st.sampled_from([{}, {"strict": False}, {"strict": True}]),
    st.lists(st.tuples(st.lists(st.floats(-10, 10), max_size=30), st.booleans()), min_size=1, max_size=8),
)  # fmt: skip
def test_hyperband_stops_the_trials_that_wandb_stops(
    rule: dict[str, Any], goal: str, strict: dict[str, bool], trials: list[tuple[list[float], bool]]
) -> None:
    """Whatever finite values any number of trials have logged, the stopped trials are those of `sweeps` 0.3.0."""
    config = {
        "method": "random", "parameters": {"a": {"values": [1]}}, "metric": {"name": "loss", "goal": goal},
        "early_terminate": {"type": "hyperband", **rule, **strict},
    }  # fmt: skip
    histories, running = [history for history, _ in trials], [alive for _, alive in trials]
    assert stopped_by_us(config, histories, running) == stopped_by_wandb(config, histories, running)


def test_a_trial_with_nan_is_the_worst_here_and_unseen_by_wandb() -> None:
    """wandb does not count a NaN as logged, so a trial of NaNs reaches no band; ours is stopped at the first one."""
    config = {
        "method": "random", "parameters": {"a": {"values": [1]}}, "metric": {"name": "loss"},
        "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 2},
    }  # fmt: skip
    histories = [[1.0, math.nan, math.nan], [1.0, 0.5, 0.4], [1.0, 0.6, 0.5], [1.0, 0.3]]
    running = [True, True, False, False]
    assert stopped_by_us(config, histories, running) == [0]
    assert 0 not in stopped_by_wandb(config, histories, running)
