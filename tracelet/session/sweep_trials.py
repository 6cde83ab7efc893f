"""Sweeps that a recorded program runs through another library: each trial becomes a run of its own, as a job of Hydra.

Given to integrations by the session; called on the user's thread. The first trial continues the run that is active; the
last one's stays active when the sweep has ended. A run with several processes, or with an id that the user chose, is
not split. The engine of sweeps is imported when there is one: every session has this object.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracelet.capture.exception_text import describe_exception
from tracelet.errors import SweepError
from tracelet.session.job_runs import JobRuns
from tracelet.store.store import Store

if TYPE_CHECKING:
    from tracelet.sweeps.study import Trial
    from tracelet.sweeps.sweep_folder import Sweep


class SweepTrials:
    """What one session offers to integrations."""

    def __init__(self, runs: JobRuns) -> None:
        self._runs = runs
        self._store = Store(runs.experiment.folder.parent.parent)
        self._quiet = runs.quiet
        self._error: BaseException | None = None
        self._has_started = False

    def create(self, config: Any, project: str) -> str:
        """A new sweep with this configuration; its id. SweepError if it cannot run here."""
        from tracelet.sweeps.study import import_optuna
        from tracelet.sweeps.sweep_config import SweepConfig
        from tracelet.sweeps.sweep_folder import Sweep

        import_optuna()
        if not self._runs.can_split_trials:
            raise SweepError("the run has several processes, or an id that was chosen")
        read, name = SweepConfig.read(config), self._runs.experiment.name
        return Sweep.create(
            self._store, read, name=read.name or name, project=project or self._runs.experiment.project,
            function=f"of {name}",
        ).id  # fmt: skip

    def has(self, sweep: str) -> bool:
        """Whether there is a sweep with this id in the store."""
        return bool(sweep) and self._folder(sweep).is_dir()

    def run(self, sweep: str, function: Callable[[str, Mapping[str, Any]], Any], count: int | None) -> None:
        """Call the function with the run id and the parameters of each trial."""
        from tracelet.sweeps.function_sweep import FunctionSweep
        from tracelet.sweeps.sweep_folder import Sweep

        found = Sweep(self._folder(sweep))
        study = found.study()
        study.prepare(found.config.run_cap)

        def call(trial: Trial) -> None:
            function(found.run_id(trial), found.config.nested_values(trial.values))

        FunctionSweep(found, study, self._record, self._say).run(call, count)

    def _folder(self, sweep: str) -> Path:
        from tracelet.sweeps.sweep_folder import SWEEPS

        return self._store.root / SWEEPS / sweep

    @contextmanager
    def _record(self, sweep: Sweep, trial: Trial) -> Iterator[Path]:
        if self._has_started:
            self._runs.next(str(trial.number), self._error)
        else:
            self._runs.rename(str(trial.number))
        self._has_started, self._error = True, None
        experiment = self._runs.experiment
        experiment.set_tags(sweep.tags(trial.number))
        experiment.log_params(sweep.config.nested_values(trial.values))
        try:
            yield experiment.folder
        except BaseException as error:
            self._error = error
            self._runs.expect_failure(describe_exception(error))
            raise
        finally:
            experiment.flush()

    def _say(self, line: str) -> None:
        if not self._quiet:
            sys.stderr.write(f"tracelet: {line}\n")
