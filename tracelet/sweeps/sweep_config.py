"""The configuration of a sweep, in wandb's format, checked as a whole.

`SweepConfig.read` takes a YAML or JSON file, or a mapping. Called on the thread that starts or resumes a sweep. What is
wrong is one `SweepError` with every problem, its line and the nearest right word; nothing has been started then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracelet.sweeps.config_checks import Checks
from tracelet.sweeps.config_document import ConfigDocument, read_document
from tracelet.sweeps.distributions import GRID
from tracelet.sweeps.hyperband import Hyperband, read_hyperband
from tracelet.sweeps.objective import GOALS, IMPUTE, Objective
from tracelet.sweeps.parameter import Parameter, read_parameters
from tracelet.sweeps.trial_command import check_command

GRID_SEARCH, RANDOM, BAYES = "grid", "random", "bayes"
METHODS = (RANDOM, GRID_SEARCH, BAYES)
KEYS = (
    "method", "parameters", "metric", "early_terminate", "program", "command", "run_cap", "name", "project",
    "description", "entity", "controller", "apiVersion", "kind",
)  # fmt: skip
"""The last four say something to wandb's server and nothing here."""
UNSUPPORTED = {
    "metrics": "several objectives are not supported. Give one `metric`",
    "scheduler": "schedulers of your own are not supported. Give a `method`",
    "job": "jobs of W&B Launch are not supported. Give a `program`",
    "image_uri": "jobs of W&B Launch are not supported. Give a `program`",
}
METRIC_KEYS = ("name", "goal", "target", "impute", "impute_while_running")


@dataclass(frozen=True)
class SweepConfig:
    """What a sweep searches, by which method and for which metric."""

    method: str
    parameters: tuple[Parameter, ...]
    """In the order of their names."""
    objective: Objective | None = None
    early_terminate: Hyperband | None = None
    program: str = ""
    command: tuple[str, ...] = ()
    run_cap: int | None = None
    name: str = ""
    project: str = ""
    description: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    """The configuration as it was given."""

    @classmethod
    def read(cls, source: str | os.PathLike[str] | Mapping[str, Any]) -> SweepConfig:
        """The configuration in a file or a mapping; SweepError if it is wrong."""
        return parse(read_document(source))

    @property
    def searched(self) -> list[Parameter]:
        """The parameters that have more than one value."""
        return [parameter for parameter in self.parameters if parameter.is_searched]

    def nested_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values by dotted name as the nested table that a program receives."""
        nested: dict[str, Any] = {}
        for parameter in self.parameters:
            inner = nested
            for key in parameter.path[:-1]:
                inner = inner.setdefault(key, {})
            inner[parameter.path[-1]] = values[parameter.name]
        return nested


def parse(document: ConfigDocument) -> SweepConfig:
    """Check a document and turn it into a configuration."""
    checks, given = Checks(document), document.values
    for key, why in UNSUPPORTED.items():
        if key in given:
            checks.problem((key,), f"`{key}`: {why}")
    checks.known_keys((), [key for key in given if key not in UNSUPPORTED], KEYS, "the configuration of a sweep")
    if "method" not in given:
        checks.problem((), f"`method` is missing. Give one of: {', '.join(METHODS)}")
    method = checks.choice(("method",), given.get("method", RANDOM), METHODS)
    if "parameters" not in given:
        checks.problem((), "`parameters` is missing. E.g. parameters: {lr: {min: 0.001, max: 0.1}}")
    parameters = tuple(read_parameters(checks, ("parameters",), given["parameters"])) if "parameters" in given else ()
    _check_names(checks, parameters)
    objective = _objective(checks, given["metric"]) if "metric" in given else None
    hyperband = None
    if given.get("early_terminate") is not None:
        hyperband = read_hyperband(checks, ("early_terminate",), given["early_terminate"])
    _check_method(checks, method, parameters, given)
    config = SweepConfig(
        method, parameters, objective, hyperband, run_cap=_run_cap(checks, given), source=dict(given),
        command=check_command(checks, given.get("command")), **_strings(checks, given),
    )  # fmt: skip
    checks.finish()
    return config


def _strings(checks: Checks, given: Mapping[str, Any]) -> dict[str, str]:
    names = ("program", "name", "project", "description")
    return {name: checks.string((name,), given[name]) for name in names if given.get(name) is not None}


def _run_cap(checks: Checks, given: Mapping[str, Any]) -> int | None:
    return None if given.get("run_cap") is None else checks.whole(("run_cap",), given["run_cap"], 1)


def _objective(checks: Checks, given: Any) -> Objective | None:
    table = checks.mapping(("metric",), given, "{name: val_loss, goal: minimize}")
    checks.known_keys(("metric",), table, METRIC_KEYS, "`metric`")
    if "name" not in table:
        checks.problem(("metric",), "`metric` needs the `name` of a metric that the program logs")
        return None
    if table.get("impute_while_running", "false") not in ("false", False):
        checks.problem(
            ("metric", "impute_while_running"),
            "`impute_while_running` is not supported: running trials count as bad ones, which keeps others apart",
        )
    target = table.get("target")
    return Objective(
        checks.string(("metric", "name"), table["name"]),
        checks.choice(("metric", "goal"), table.get("goal", GOALS[0]), GOALS),
        None if target is None else float(checks.number(("metric", "target"), target)),
        checks.choice(("metric", "impute"), table.get("impute", IMPUTE[0]), IMPUTE),
    )


def _check_method(checks: Checks, method: str, parameters: tuple[Parameter, ...], given: Mapping[str, Any]) -> None:
    if method == BAYES and "metric" not in given:
        checks.problem(("method",), "`method: bayes` needs a `metric`. E.g. metric: {name: val_loss, goal: minimize}")
    if given.get("early_terminate") is not None and "metric" not in given:
        checks.problem(("early_terminate",), "`early_terminate` needs a `metric` to compare trials by")
    for parameter in parameters if method == GRID_SEARCH else ():
        if parameter.distribution not in GRID:
            place = tuple(key for name in parameter.path for key in ("parameters", name))
            checks.problem(
                place, f"a grid cannot enumerate {parameter.name!r} with distribution {parameter.distribution!r}: give "
                "`values`, integer bounds, or `distribution: q_uniform`",
            )  # fmt: skip


def _check_names(checks: Checks, parameters: tuple[Parameter, ...]) -> None:
    seen: set[str] = set()
    for parameter in parameters:
        if parameter.name in seen:
            checks.problem(("parameters",), f"two parameters have the name {parameter.name!r} on a command line")
        seen.add(parameter.name)
