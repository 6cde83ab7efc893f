"""A trial that a controller watches: its process, its run, the values of the metric, and whether it is to end early.

Used by `tracelet.sweeps.controller` on its thread.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from tracelet.journal.run_folder import RUNS
from tracelet.store.pruning import mark_pruned
from tracelet.store.run import Run
from tracelet.sweeps.hyperband import Hyperband
from tracelet.sweeps.metric_history import MetricHistory
from tracelet.sweeps.study import SweepStudy, Trial
from tracelet.sweeps.sweep_folder import Sweep
from tracelet.sweeps.trial_lock import TrialLock
from tracelet.sweeps.trial_process import TrialProcess


class ActiveTrial:
    """One running trial of this controller."""

    def __init__(self, sweep: Sweep, study: SweepStudy, trial: Trial, owner: TrialLock, lock: TrialLock) -> None:
        self.trial, self.owner, self.device = trial, owner, ""
        self.began = time.monotonic()
        self.process = TrialProcess(lock, sweep.trial_file(trial.number, trial.attempt, "pid"))
        self.pruned = str(trial.attributes.get("pruned", ""))
        self._sweep, self._study = sweep, study
        folder = sweep.store / RUNS / sweep.run_id(trial)
        objective = sweep.config.objective
        self._history = None if objective is None else MetricHistory(folder, objective.name)

    @property
    def run(self) -> Run | None:
        """The trial's run, as it is on disk now."""
        return self._sweep.run(self.trial)

    def recorded_pid(self) -> int:
        """The process of the leading rank; 0 if none is recorded."""
        run = self.run
        return 0 if run is None else run.info.pid

    def refresh(self, bands: Hyperband | None) -> bool:
        """Read new values of the metric, and keep those at the bands; whether there were any."""
        if self._history is None or not self._history.refresh():
            return False
        values = self._history.values
        for band in bands.bands if bands is not None else ():
            if band > len(values):
                break
            if band not in self.trial.at_bands:
                self._study.report(self.trial, band, values[band - 1])
        return True

    def prune(self, rule: Hyperband, thresholds: Mapping[int, float]) -> str:
        """Ask the trial to end if it is worse than the others; the reason if it was asked now."""
        objective = self._sweep.config.objective
        if self._history is None or objective is None or self.pruned:
            return ""
        costs = [objective.cost(value) for value in self._history.values]
        found = rule.reason(costs, thresholds)
        if found is None:
            return ""
        band, cost, limit = found
        sign = -1 if objective.goal == "maximize" else 1
        self.pruned = f"{objective.name} {sign * cost:.6g} after {band} values, the limit is {sign * limit:.6g}"
        self._study.note(self.trial, pruned=self.pruned)
        run = self.run
        if run is not None:
            mark_pruned(run.path, self.pruned)
        return self.pruned
