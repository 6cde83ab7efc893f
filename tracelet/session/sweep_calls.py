"""`tracelet.sweep()`: a sweep over a function of the program, each trial a run of this process.

Called on the user's thread, on which the function runs. Unlike what records, it raises: a wrong configuration is a
`SweepError` before anything starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracelet import settings
from tracelet.errors import SweepError
from tracelet.session import active_session
from tracelet.session.start import start
from tracelet.store.store import Store
from tracelet.sweeps.function_sweep import FunctionSweep, Record, check_function
from tracelet.sweeps.progress import best_trial
from tracelet.sweeps.study import Trial
from tracelet.sweeps.sweep_config import GRID_SEARCH, SweepConfig
from tracelet.sweeps.sweep_folder import Sweep, find_sweep


@dataclass(frozen=True)
class SweepResult:
    """What a sweep has found."""

    id: str
    """For `tracelet sweep show ID`, and to resume it."""
    trials: tuple[Trial, ...]
    best: Trial | None
    """The trial with the best metric: its `number`, `values`, `metric` and `status`."""


def run_sweep(
    source: str | os.PathLike[str] | Mapping[str, Any],
    function: Callable[[dict[str, Any]], Any],
    count: int | None,
    given: Mapping[str, Any],
    resume: str,
) -> SweepResult:
    """Run the trials; `given`: name, project, seed, backend and config, as far as the caller gave them."""
    check_function(function)
    if active_session.active() is not None:
        raise SweepError("a run is active, and each trial is a run. Type tracelet.stop_logging() before the sweep")
    settled = settings.load(config=given["config"])
    store, config = Store.open(settled.dir or None), SweepConfig.read(source)
    total = min((number for number in (count, config.run_cap) if number is not None), default=None)
    if config.method != GRID_SEARCH and total is None and not resume:
        raise SweepError(f"`method: {config.method}` has no end. Give count=20, or `run_cap`")
    name = getattr(function, "__name__", type(function).__name__).strip("<>")
    sweep = find_sweep(store, resume) if resume else Sweep.create(
        store, config, name=given["name"] or config.name or name, count=total, seed=given["seed"], function=name,
        project=given["project"] or config.project or settled.project,
    )  # fmt: skip
    study = sweep.study()
    study.prepare(total or sweep.record.count)
    say = _silent if settled.quiet else _say
    say(f"sweep {sweep.record.name!r} is {sweep.id} in {sweep.store}")

    def call(trial: Trial) -> None:
        _log_result(function(sweep.config.nested_values(trial.values)), sweep)

    FunctionSweep(sweep, study, recorder(given["backend"], given["config"]), say).run(call, len(study.trials()))
    trials = study.trials()
    return SweepResult(sweep.id, tuple(trials), best_trial(trials, config.objective))


def recorder(backend: Any, config: Mapping[str, Any] | None) -> Record:
    """Records each trial as a run with these backends and settings."""

    @contextmanager
    def record(sweep: Sweep, trial: Trial) -> Iterator[Path]:
        arguments = {
            "experiment_name": f"{sweep.record.name}-{trial.number}", "project": sweep.record.project,
            "run_id": sweep.run_id(trial),
        }  # fmt: skip
        nested, tags = sweep.config.nested_values(trial.values), sweep.tags(trial.number)
        with start(arguments, backend, {**(config or {}), "quiet": True}, tags, nested) as experiment:
            yield experiment.folder

    return record


def _log_result(result: Any, sweep: Sweep) -> None:
    """A number that the function returns is a value of the metric."""
    objective, experiment = sweep.config.objective, active_session.active()
    if objective is None or experiment is None:
        return
    value = result.get(objective.name) if isinstance(result, Mapping) else result
    if value is not None:
        experiment.log({objective.name: value})


def _say(line: str) -> None:
    sys.stderr.write(f"tracelet: {line}\n")


def _silent(_: str) -> None:
    pass
