"""The points of a grid search, in wandb's order: names sorted, the last one changes fastest, no point twice. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from tracelet.sweeps.parameter import Parameter


def grid_points(parameters: Sequence[Parameter]) -> Iterator[dict[str, Any]]:
    """The values by name of every point."""
    fixed = {parameter.name: parameter.value(0) for parameter in parameters if not parameter.is_searched}
    searched = [parameter for parameter in parameters if parameter.is_searched]
    columns = [_values(parameter) for parameter in searched]
    for point in itertools.product(*columns):
        found = {parameter.name: value for parameter, value in zip(searched, point)}
        yield {parameter.name: {**found, **fixed}[parameter.name] for parameter in parameters}


def grid_size(parameters: Sequence[Parameter]) -> int:
    """The number of points."""
    size = 1
    for parameter in parameters:
        if parameter.is_searched:
            size *= len(_values(parameter))
    return size


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
