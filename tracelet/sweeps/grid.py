"""The points of a grid search, in wandb's order: names sorted, the last one changes fastest, no point twice. Pure."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from tracelet.sweeps.parameter import Parameter


def grid_parameters(parameters: Sequence[Parameter]) -> list[Parameter]:
    """The parameters as lists of values."""
    return [
        Parameter(parameter.path, "categorical", {"values": _values(parameter)}) if parameter.is_searched else parameter
        for parameter in parameters
    ]


def grid_places(parameters: Sequence[Parameter], count: int) -> Iterator[dict[str, int]]:
    """The first points, as the index of each parameter's value; `parameters` are lists of values."""
    searched = [parameter for parameter in parameters if parameter.is_searched]
    indices = [range(len(parameter.given["values"])) for parameter in searched]
    for point in itertools.islice(itertools.product(*indices), count):
        yield {parameter.name: index for parameter, index in zip(searched, point)}


def grid_size(parameters: Sequence[Parameter]) -> int:
    """The number of points."""
    return math.prod(len(_values(parameter)) for parameter in parameters if parameter.is_searched)


def _values(parameter: Parameter) -> list[Any]:
    """The distinct values of a parameter. `q_uniform` excludes its maximum, as in wandb."""
    given = parameter.given
    if parameter.distribution == "int_uniform":
        return list(range(given["min"], given["max"] + 1))
    if parameter.distribution == "q_uniform":
        import numpy

        values = numpy.arange(given["min"], given["max"], given["q"]).tolist()
    else:
        values = given["values"]
    return list({_key(value): value for value in values}.values())


def _key(value: Any) -> str:
    """Equal for values that are the same to wandb: 3 and 3.0, but not 1 and true."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True, default=str)
