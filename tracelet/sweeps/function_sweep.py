"""Runs the trials of a sweep by calling a function, one after the other, on the thread of the caller.

Used by `tracelet.sweep()` and by the wandb integration. A trial is a run that the caller's `record` starts and ends. An
unpromising trial is ended by an exception of ours in the function, like wandb's agent does it; other exceptions of the
function fail its trial, and the last one is raised if the first trials all fail.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tracelet.capture.exception_text import describe_exception
from tracelet.errors import SweepError
from tracelet.guard import guard
from tracelet.journal.records import FINISHED as RUN_FINISHED
from tracelet.sweeps.active_trial import ActiveTrial
from tracelet.sweeps.progress import Progress
from tracelet.sweeps.study import FAILED, RUNNING, SweepStudy, Trial
from tracelet.sweeps.sweep_folder import Sweep
from tracelet.sweeps.trial_lock import TrialLock
from tracelet.sweeps.trial_outcome import Outcome, outcome

LOOK_EVERY = 0.5
"""Seconds between two looks at the metric of the running trial, which is written as often."""
FAILURES_AT_START = 3
"""As in wandb's agent: a function whose first trials all fail is wrong itself."""

Record = Callable[[Sweep, Trial], AbstractContextManager[Any]]
"""Records a trial: entered before the function and left after it, with its exception; yields the run's folder."""
Function = Callable[[Trial], Any]


class TrialPruned(BaseException):
    """Raised in the function of a trial that ends early. No `Exception`, so that the function does not catch it."""


class FunctionSweep:
    """The trials of one sweep in this process."""

    def __init__(self, sweep: Sweep, study: SweepStudy, record: Record, say: Callable[[str], None]) -> None:
        self._sweep, self._study, self._record = sweep, study, record
        self._progress = Progress(sweep, study, 1, say)
        self._failures = 0
        self._reached = False

    def run(self, function: Function, count: int | None) -> None:
        """Run up to `count` trials, or all that there are; without an end only if neither is known."""
        done = 0
        while (count is None or done < count) and not self._reached and not self._sweep.is_stopped:
            trial = self._orphan() or self._study.take(unlimited=count is not None or self._sweep.record.count is None)
            if trial is None:
                return
            self._run_one(trial, function)
            done += 1

    def _orphan(self) -> Trial | None:
        """A trial whose process is gone: it runs again, unless it has ended there."""
        for trial in self._study.trials():
            owner = TrialLock(self._sweep.trial_file(trial.number, 0, "owner"))
            if trial.status != RUNNING or not owner.is_free:
                continue
            run = self._sweep.run(trial)
            if run is not None and run.info.status == RUN_FINISHED:
                self._end(trial, outcome(run, None, self._sweep.config.objective))
                continue
            attributes = {"attempt": trial.attempt + (run is not None), "run": ""}
            self._study.note(trial, **attributes)
            return trial
        return None

    def _run_one(self, trial: Trial, function: Function) -> None:
        owner = TrialLock(self._sweep.trial_file(trial.number, 0, "owner"))
        if not owner.acquire():
            return
        self._study.note(trial, attempt=trial.attempt)
        self._progress.tell("started", trial, "")
        watch = _Watch(self._sweep, self._study, trial, owner)
        error: Exception | None = None
        try:
            with self._record(self._sweep, trial) as folder:
                watch.start(Path(folder))
                try:
                    function(trial)
                finally:
                    watch.stop()
        except TrialPruned:
            pass
        except Exception as raised:  # the function's own: its trial has failed, and the next one runs
            error = raised
        finally:
            owner.release()
        watch.finish()
        self._conclude(trial, watch.pruned, error)

    def _conclude(self, trial: Trial, pruned: str, error: Exception | None) -> None:
        code = 0 if error is None and not pruned else 1
        found = outcome(self._sweep.run(trial), code, self._sweep.config.objective, pruned)
        if error is not None and not pruned:
            found = found._replace(reason=describe_exception(error))
        if error is not None:
            traceback.print_exception(error, file=sys.stderr)
        self._end(trial, found)
        self._failures += found.status == FAILED
        ended = sum(one.has_ended for one in self._study.trials())
        if error is not None and self._failures == ended == FAILURES_AT_START:
            raise error

    def _end(self, trial: Trial, found: Outcome) -> None:
        objective = self._sweep.config.objective
        if self._study.end(trial, found.status, found.metric, found.reason, self._study.trials()):
            self._progress.tell(found.status, trial, found.reason)
        if objective is not None and found.metric is not None and objective.reaches_target(found.metric):
            self._reached = True


class _Watch:
    """Looks at the metric of the running trial from a thread of its own, and ends the trial if it is unpromising."""

    def __init__(self, sweep: Sweep, study: SweepStudy, trial: Trial, owner: TrialLock) -> None:
        self._sweep, self._study, self._trial, self._owner = sweep, study, trial, owner
        self._function_thread = threading.get_ident()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._active: ActiveTrial | None = None
        self.pruned = ""

    def start(self, folder: Path) -> None:
        """The run is in this folder. Start looking, if the sweep ends trials early."""
        self._study.note(self._trial, run=folder.name)
        lock = TrialLock(self._sweep.trial_file(self._trial.number, 0, "lock"))
        self._active = ActiveTrial(self._sweep, self._study, self._trial, self._owner, lock)
        if self._sweep.config.early_terminate is not None:
            self._thread = threading.Thread(target=self._look, name="tracelet-sweep", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop looking; afterwards no exception of ours is raised any more."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def finish(self) -> None:
        """The run has ended: its last values count in the comparison with later trials."""
        if self._active is not None:
            self._active.refresh(self._sweep.config.early_terminate)

    def _look(self) -> None:
        rule, objective, active = self._sweep.config.early_terminate, self._sweep.config.objective, self._active
        assert rule is not None and objective is not None and active is not None
        with guard("looking at the metric of a trial"):
            while not self._done.wait(LOOK_EVERY):
                if not active.refresh(rule):
                    continue
                known = [{band: objective.cost(v) for band, v in t.at_bands.items()} for t in self._study.trials()]
                self.pruned = active.prune(rule, rule.thresholds(known))
                if self.pruned:
                    self._raise_in_function()
                    return

    def _raise_in_function(self) -> None:
        """As wandb's agent does: the function is stopped at its next line of Python."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._function_thread), ctypes.py_object(TrialPruned))


def check_function(function: Any) -> None:
    """SweepError if it cannot be called."""
    if not callable(function):
        raise SweepError(f"a sweep runs a function, not {function!r}. E.g. tracelet.sweep(config, train, count=20)")
