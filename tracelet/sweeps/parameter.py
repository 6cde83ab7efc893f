"""One parameter of a sweep: reads its configuration, infers its distribution as wandb does, and gives its values. Pure.

Used by `tracelet.sweeps.sweep_config`. Nested `parameters` become several parameters, whose paths have several names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracelet.sweeps.config_checks import Checks
from tracelet.sweeps.config_document import Place
from tracelet.sweeps.distributions import DISTRIBUTIONS, POSITIVE_RANGE, Interval

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
KEYS = ("distribution", "value", "values", "probabilities", "min", "max", "q", "mu", "sigma", "a", "b", "parameters")
EXAMPLE = "lr: {min: 0.001, max: 0.1}"
SUM_TOLERANCE = 1e-6
"""By how much the sum of probabilities may miss 1."""
NUMBERS = ("min", "max", "q", "mu", "sigma", "a", "b")


@dataclass(frozen=True)
class Parameter:
    """A parameter with its distribution."""

    path: tuple[str, ...]
    distribution: str
    given: Mapping[str, Any]
    """The settings of the distribution, with defaults."""

    @property
    def name(self) -> str:
        """The names of its path joined by dots, as on a command line."""
        return ".".join(self.path)

    @property
    def is_searched(self) -> bool:
        """Whether it has more than one value."""
        return self.distribution != "constant"

    @property
    def interval(self) -> Interval:
        """What a sampler searches."""
        return DISTRIBUTIONS[self.distribution].interval(self.given)

    def value(self, place: float) -> Any:
        """The value at a place of the interval."""
        return DISTRIBUTIONS[self.distribution].value(place, self.given)


def read_parameters(checks: Checks, place: Place, given: Any, path: tuple[str, ...] = ()) -> Iterator[Parameter]:
    """The parameters in a mapping of names to configurations, in the order of their names, nested ones included."""
    table = checks.mapping(place, given, EXAMPLE)
    if isinstance(given, Mapping) and not table:
        checks.problem(place, f"`parameters` must have at least one parameter. E.g. {EXAMPLE}")
    for name, config in sorted(table.items()):
        here = (*place, name)
        if not NAME.fullmatch(name):
            checks.problem(here, f"{name!r} is no name of a parameter: use letters, digits, `_`, `.` and `-`")
        elif not isinstance(config, Mapping):
            checks.problem(here, f"the parameter {name!r} must be a mapping, not {config!r}. {_instead(name, config)}")
        elif "parameters" in config:
            checks.known_keys(here, config, ("parameters",), f"the nested parameter {name!r}")
            yield from read_parameters(checks, (*here, "parameters"), config["parameters"], (*path, name))
        else:
            yield from _read(checks, here, (*path, name), config)


def _instead(name: str, config: Any) -> str:
    key = "values" if isinstance(config, (list, tuple)) else "value"
    return f"Type: {name}: {{{key}: {config}}}"


def _read(checks: Checks, place: Place, path: tuple[str, ...], config: Mapping[str, Any]) -> Iterator[Parameter]:
    before = len(checks.problems)
    checks.known_keys(place, config, KEYS, f"the parameter {path[-1]!r}")
    if len(checks.problems) > before:
        return
    distribution = _distribution(checks, place, config)
    if distribution is None:
        return
    row = DISTRIBUTIONS[distribution]
    for key in config:
        if key != "distribution" and key not in row.required and key not in row.optional:
            keys = ", ".join([*row.required, *row.optional])
            checks.problem((*place, key), f"`{key}` does not belong to the distribution {distribution!r}. Keys: {keys}")
    for key in row.required:
        if key not in config:
            checks.problem(place, f"the parameter {path[-1]!r} with distribution {distribution!r} needs `{key}`")
    given = {key: config.get(key, row.optional.get(key)) for key in (*row.required, *row.optional)}
    if len(checks.problems) == before:
        given = _checked(checks, place, distribution, given)
    if len(checks.problems) == before:
        yield Parameter(path, distribution, given)


def _distribution(checks: Checks, place: Place, config: Mapping[str, Any]) -> str | None:
    """The distribution that is named, or the one that the keys imply."""
    named = config.get("distribution")
    if named is not None:
        before = len(checks.problems)
        found = checks.choice((*place, "distribution"), named, DISTRIBUTIONS)
        if found == "categorical" and "probabilities" in config:
            found = "categorical_w_probabilities"
        return found if len(checks.problems) == before else None
    if "values" in config:
        return "categorical_w_probabilities" if "probabilities" in config else "categorical"
    if "value" in config:
        return "constant"
    if "min" in config and "max" in config and "q" not in config:
        return "int_uniform" if all(_is_integer(config[key]) for key in ("min", "max")) else "uniform"
    checks.problem(place, f"the parameter {place[-1]!r} needs {_missing(config)}")
    return None


def _missing(config: Mapping[str, Any]) -> str:
    if "min" in config and "max" in config:
        return "a distribution for `q`: `distribution: q_uniform` or `q_log_uniform_values`"
    if "min" in config or "max" in config:
        return f"`{'max' if 'min' in config else 'min'}` too"
    if "mu" in config or "sigma" in config:
        return "a distribution for `mu` and `sigma`: `distribution: normal` or `log_normal`"
    if "a" in config or "b" in config:
        return "a distribution for `a` and `b`: `distribution: beta`"
    return "one of: `value`, `values`, `min` and `max`, `distribution`, nested `parameters`"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked(checks: Checks, place: Place, distribution: str, given: dict[str, Any]) -> dict[str, Any]:
    before = len(checks.problems)
    for key in NUMBERS:
        if key in given:
            given[key] = checks.number((*place, key), given[key])
    if len(checks.problems) > before:
        return given
    if "values" in given:
        _check_values(checks, place, given)
    if "min" in given:
        _check_range(checks, place, distribution, given)
    for key in ("q", "a", "b"):
        if key in given and given[key] <= 0:
            checks.problem((*place, key), f"`{key}` must be above 0, not {given[key]}")
    if given.get("sigma", 0) < 0:
        checks.problem((*place, "sigma"), f"`sigma` must not be negative, and is {given['sigma']}")
    return given


def _check_range(checks: Checks, place: Place, distribution: str, given: Mapping[str, Any]) -> None:
    low, high = given["min"], given["max"]
    if distribution == "int_uniform" and not (_is_integer(low) and _is_integer(high)):
        checks.problem(place, f"`min` and `max` of int_uniform must be integers, not {low} and {high}")
    if low >= high:
        checks.problem((*place, "min"), f"`min` must be below `max`: {low} is not below {high}")
    if distribution in POSITIVE_RANGE and low <= 0:
        checks.problem((*place, "min"), f"`min` of {distribution} must be above 0, not {low}")


def _check_values(checks: Checks, place: Place, given: dict[str, Any]) -> None:
    values = given["values"]
    if not isinstance(values, (list, tuple)) or not values:
        checks.problem((*place, "values"), f"`values` must be a list with at least one value, not {values!r}")
        return
    if "probabilities" in given:
        _check_probabilities(checks, (*place, "probabilities"), given["probabilities"], values)


def _check_probabilities(checks: Checks, place: Place, found: Any, values: Sequence[Any]) -> None:
    if not isinstance(found, (list, tuple)) or len(found) != len(values):
        checks.problem(place, f"`probabilities` must be a list of {len(values)} numbers, one for each value")
        return
    before = len(checks.problems)
    numbers = [checks.number((*place, index), item) for index, item in enumerate(found)]
    if len(checks.problems) > before:
        return
    if min(numbers) < 0:
        checks.problem(place, f"a probability must not be negative, and one is {min(numbers)}")
    elif abs(sum(numbers) - 1) > SUM_TOLERANCE:
        checks.problem(place, f"the sum of `probabilities` must be 1, and is {sum(numbers):g}")
