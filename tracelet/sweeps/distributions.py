"""The distributions of a sweep's parameters: what each needs, what is searched, and the value that follows. Pure.

Every distribution is searched as one plain interval (`Interval`), which each of Optuna's samplers handles; `value`
turns a place in it into the parameter's value, mostly by the inverse of the cumulative distribution function. The
names, types and rounding are those of `sweeps`, the engine of Weights & Biases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from statistics import NormalDist
from typing import Any, NamedTuple

Settings = Mapping[str, Any]

EDGE = 1e-12
"""How near a probability comes to 0 and 1, where a normal distribution has infinities."""


class Interval(NamedTuple):
    """What is searched for one parameter: real numbers, or integers, or indices without an order."""

    low: float
    high: float
    kind: str = "real"


class Distribution(NamedTuple):
    """One row of the table."""

    required: tuple[str, ...]
    optional: Mapping[str, float]
    """Keys with their defaults."""
    interval: Callable[[Settings], Interval]
    value: Callable[[float, Settings], Any]


def _bounds(given: Settings) -> Interval:
    return Interval(given["min"], given["max"])


def _log_bounds(given: Settings) -> Interval:
    return Interval(math.log(given["min"]), math.log(given["max"]))


def _probabilities(_: Settings) -> Interval:
    return Interval(EDGE, 1 - EDGE)


def _integers(given: Settings) -> Interval:
    return Interval(given["min"], given["max"], "integer")


def _indices(given: Settings) -> Interval:
    return Interval(0, len(given["values"]) - 1, "index")


def _itself(place: float, _: Settings) -> float:
    return place


def _integer(place: float, _: Settings) -> int:
    return int(place)


def _indexed(place: float, given: Settings) -> Any:
    return given["values"][int(place)]


def _weighted(place: float, given: Settings) -> Any:
    sums = list(accumulate(given["probabilities"]))
    # The last sum may miss 1 by rounding, and a value with the probability 0 must not come up for it.
    return next(
        (value for value, end in zip(given["values"], sums) if place <= end),
        next(v for v, p in reversed(list(zip(given["values"], given["probabilities"]))) if p > 0),
    )


def _exponential(place: float, _: Settings) -> float:
    return math.exp(place)


def _inverse_exponential(place: float, _: Settings) -> float:
    return math.exp(-place)


def _normal(place: float, given: Settings) -> float:
    return float(given["mu"] + given["sigma"] * NormalDist().inv_cdf(place))


def _log_normal(place: float, given: Settings) -> float:
    return math.exp(_normal(place, given))


def _beta(place: float, given: Settings) -> float:
    from scipy.special import betaincinv

    return float(betaincinv(given["a"], given["b"], place))


def quantized(of: Callable[[float, Settings], float]) -> Callable[[float, Settings], Any]:
    """The same value, rounded to a multiple of `q`: an integer if `q` is one."""

    def value(place: float, given: Settings) -> Any:
        return round(of(place, given) / given["q"]) * given["q"]

    return value


def _constant(_: float, given: Settings) -> Any:
    return given["value"]


def _nothing(_: Settings) -> Interval:
    return Interval(0, 0)


_RANGE = ("min", "max")
_Q = {"q": 1.0}
_NORMAL = {"mu": 0.0, "sigma": 1.0}
_BETA = {"a": 1.0, "b": 1.0}

DISTRIBUTIONS: dict[str, Distribution] = {
    "constant": Distribution(("value",), {}, _nothing, _constant),
    "categorical": Distribution(("values",), {}, _indices, _indexed),
    "categorical_w_probabilities": Distribution(("values", "probabilities"), {}, _probabilities, _weighted),
    "int_uniform": Distribution(_RANGE, {}, _integers, _integer),
    "uniform": Distribution(_RANGE, {}, _bounds, _itself),
    "q_uniform": Distribution(_RANGE, _Q, _bounds, quantized(_itself)),
    "log_uniform": Distribution(_RANGE, {}, _bounds, _exponential),
    "log_uniform_values": Distribution(_RANGE, {}, _log_bounds, _exponential),
    "q_log_uniform": Distribution(_RANGE, _Q, _bounds, quantized(_exponential)),
    "q_log_uniform_values": Distribution(_RANGE, _Q, _log_bounds, quantized(_exponential)),
    "inv_log_uniform": Distribution(_RANGE, {}, _bounds, _inverse_exponential),
    # log(1/x) is uniform between log(1/max) and log(1/min), so x has the same distribution as with log_uniform_values.
    "inv_log_uniform_values": Distribution(_RANGE, {}, _log_bounds, _exponential),
    "normal": Distribution((), _NORMAL, _probabilities, _normal),
    "q_normal": Distribution((), {**_NORMAL, **_Q}, _probabilities, quantized(_normal)),
    "log_normal": Distribution((), _NORMAL, _probabilities, _log_normal),
    "q_log_normal": Distribution((), {**_NORMAL, **_Q}, _probabilities, quantized(_log_normal)),
    "beta": Distribution((), _BETA, _probabilities, _beta),
    "q_beta": Distribution((), {**_BETA, **_Q}, _probabilities, quantized(_beta)),
}
"""Name to distribution. In `log_uniform` and its relatives without `_values`, min and max are exponents of e."""

POSITIVE_RANGE = frozenset({"log_uniform_values", "q_log_uniform_values", "inv_log_uniform_values"})
GRID = frozenset({"constant", "categorical", "int_uniform", "q_uniform"})
"""Those that a grid can enumerate."""
