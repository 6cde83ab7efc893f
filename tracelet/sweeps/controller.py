"""Runs the trials of a sweep in processes of this machine, watches their metrics, and ends the unpromising ones.

Started by `tracelet sweep`, on the main thread of a process of its own. Any number of controllers may run one sweep: a
trial belongs to the controller that took it from the storage, and to another one only when that is dead. Nothing is
lost if a controller is killed: its trials run on, and the next controller adopts them.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tracelet.capture.autostart_environment import FIRST_PROGRAM, autostart_environment
from tracelet.errors import SweepError
from tracelet.sweeps.active_trial import ActiveTrial
from tracelet.sweeps.devices import Devices
from tracelet.sweeps.study import FAILED, RUNNING, SweepStudy, Trial
from tracelet.sweeps.sweep_folder import Sweep
from tracelet.sweeps.trial_command import fill_command, wants_json_file
from tracelet.sweeps.trial_lock import TrialLock
from tracelet.sweeps.trial_outcome import Outcome, outcome

POLL = 0.1
"""Seconds between two looks at the processes; a look costs some microseconds a trial."""
METRICS_EVERY = 0.5
"""Seconds between two looks at the journals, which are written as often."""
ADOPT_EVERY = 5.0
"""Seconds between two searches for trials of dead controllers."""
TAKE_EVERY = 1.0
"""Seconds between two looks for a trial that waits, unless one of ours has just ended."""
HEARTBEAT = 10.0
STALE = 60.0
"""Seconds without a heartbeat after which a controller of another machine counts as dead."""


Tell = Callable[[str, Trial, str], None]
"""Receives an event, its trial, and a reason."""


@dataclass(frozen=True)
class Limits:
    """How much a controller does."""

    workers: int = 1
    retry: int = 0
    """How often a failed trial runs again."""
    unlimited: bool = False
    """Whether there are always more trials."""


class Controller:
    """One controller of one sweep."""

    def __init__(
        self, sweep: Sweep, study: SweepStudy, limits: Limits, devices: Devices, tell: Tell, settings: dict[str, Any]
    ) -> None:  # fmt: skip
        self._sweep, self._study, self._limits, self._devices = sweep, study, limits, devices
        self._tell, self._settings = tell, settings
        self._active: dict[int, ActiveTrial] = {}
        self._owner = f"{socket.gethostname()}:{sweep.path}"
        self._at = {"metrics": 0.0, "adopt": 0.0, "heartbeat": 0.0, "take": 0.0}
        self._ending = self._reached = False

    def run(self) -> None:
        """Run trials until there are no more, the target is reached or the sweep is stopped."""
        try:
            while not self._is_done():
                self._step()
                time.sleep(POLL)
        except BaseException:
            self._leave()
            raise

    def _is_done(self) -> bool:
        return self._ending and not self._active

    def _step(self) -> None:
        for active in list(self._active.values()):
            if active.process.has_ended:
                self._finish(active)
            elif active.pruned or self._sweep.is_stopped:
                active.process.stop(active.recorded_pid)
        if self._due("metrics", METRICS_EVERY):
            self._look_at_metrics()
        if self._due("adopt", ADOPT_EVERY):
            self._adopt_orphans()
        if self._sweep.record.storage and self._due("heartbeat", HEARTBEAT):
            for active in self._active.values():
                self._study.note(active.trial, heartbeat=time.time())
        self._ending = self._sweep.is_stopped or self._reached or not (self._fill() or self._others_run())

    def _due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._at[what] + seconds:
            return False
        self._at[what] = now
        return True

    def _fill(self) -> bool:
        """Start trials while there is room; whether there may be more to do."""
        if not self._due("take", TAKE_EVERY):
            return True
        room = self._devices.slots or self._limits.workers
        while len(self._active) < min(room, self._limits.workers):
            trial = self._study.take(self._limits.unlimited)
            if trial is None:
                return bool(self._active)
            self._start(trial)
        return True

    def _others_run(self) -> bool:
        """Whether another controller has a trial that we would adopt if that controller died."""
        return any(trial.status == RUNNING for trial in self._study.trials())

    def _start(self, trial: Trial, attempt: int = 0) -> None:
        number = trial.number
        owner = TrialLock(self._sweep.trial_file(number, 0, "owner"))
        lock = TrialLock(self._sweep.trial_file(number, attempt, "lock"))
        if not owner.acquire() or not lock.acquire():
            return  # another controller has adopted it meanwhile
        self._study.note(trial, attempt=attempt, owner=self._owner, heartbeat=time.time())
        active = ActiveTrial(self._sweep, self._study, trial, owner, lock)
        active.device = self._devices.take()
        self._active[number] = active
        log = self._sweep.trial_file(number, attempt, "log")
        environment = autostart_environment(
            self._options(trial), FIRST_PROGRAM, self._devices.environment(active.device)
        )
        active.process.start(self.command(trial), environment, self._sweep.record.folder, log)
        self._tell("started", trial, "")

    def command(self, trial: Trial) -> list[str]:
        """The command line of a trial."""
        config, nested = self._sweep.config, self._sweep.config.nested_values(trial.values)
        json_file = self._sweep.trial_file(trial.number, trial.attempt, "json")
        if wants_json_file(config.command):
            json_file.write_text(json.dumps(nested), encoding="utf-8")
        return fill_command(config.command, config.program, trial.values, nested, str(json_file))

    def _options(self, trial: Trial) -> dict[str, Any]:
        record = self._sweep.record
        name = f"{record.name}-{trial.number}"
        given = {
            **self._settings, "experiment_name": name, "project": record.project, "dir": str(self._sweep.store),
            "run_id": self._sweep.run_id(trial),
        }  # fmt: skip
        return {
            "given": given, "name": name, "tags": self._sweep.tags(trial.number),
            "params": self._sweep.config.nested_values(trial.values),
        }  # fmt: skip

    def _finish(self, active: ActiveTrial) -> None:
        active.refresh(self._sweep.config.early_terminate)
        found = outcome(active.run, active.process.exit_code, self._sweep.config.objective, active.pruned)
        trial = active.trial
        self._forget(active)
        if self._sweep.is_stopped and found.status == FAILED:
            self._study.note(trial, interrupted=True)
        elif found.status == FAILED and trial.attempt < self._limits.retry:
            self._tell("again", trial, found.reason)
            self._start(trial, trial.attempt + 1)
        else:
            self._end(trial, found)

    def _forget(self, active: ActiveTrial) -> None:
        del self._active[active.trial.number]
        self._devices.give_back(active.device)
        active.owner.release()

    def _end(self, trial: Trial, found: Outcome) -> None:
        objective, self._at["take"] = self._sweep.config.objective, 0.0
        if objective is not None and found.metric is not None:
            self._reached = self._reached or objective.reaches_target(found.metric)
        if self._study.end(trial, found.status, found.metric, found.reason, self._study.trials()):
            self._tell(found.status, trial, found.reason)

    def _look_at_metrics(self) -> None:
        rule, objective = self._sweep.config.early_terminate, self._sweep.config.objective
        changed = [active for active in self._active.values() if active.refresh(rule)]
        if not changed or rule is None or objective is None:
            return
        at_bands = [{band: objective.cost(v) for band, v in t.at_bands.items()} for t in self._study.trials()]
        thresholds = rule.thresholds(at_bands)
        for active in self._active.values():
            reason = active.prune(rule, thresholds)
            if reason:
                self._tell("stopping", active.trial, reason)

    def _adopt_orphans(self) -> None:
        """Watch on over trials whose controller is dead, and restart those that never began."""
        for trial in self._study.trials():
            if trial.status != RUNNING or trial.number in self._active:
                continue
            if trial.attributes.get("owner", self._owner) == self._owner:
                self._adopt(trial)
            elif time.time() > float(trial.attributes.get("heartbeat", 0)) + STALE:
                reason = f"its controller on {str(trial.attributes['owner']).partition(':')[0]} does not answer"
                self._end(trial, Outcome(FAILED, trial.metric, reason))

    def _adopt(self, trial: Trial) -> None:
        owner = TrialLock(self._sweep.trial_file(trial.number, 0, "owner"))
        if not owner.acquire():
            return
        lock = TrialLock(self._sweep.trial_file(trial.number, trial.attempt, "lock"))
        active = ActiveTrial(self._sweep, self._study, trial, owner, lock)
        if lock.is_free and (active.run is None or trial.attributes.get("interrupted")):
            owner.release()  # it never began, or was interrupted on purpose
            self._start(trial, trial.attempt + (active.run is not None))
            return
        self._active[trial.number] = active
        self._tell("adopted", trial, "")

    def _leave(self) -> None:
        """End our trials at a Ctrl-C; they run again when the sweep resumes."""
        deadline = time.monotonic() + METRICS_EVERY * 20
        while self._active and time.monotonic() < deadline:
            for active in list(self._active.values()):
                active.process.stop(active.recorded_pid)
                if active.process.has_ended:
                    self._study.note(active.trial, interrupted=True)
                    self._forget(active)
            time.sleep(POLL)
        for active in self._active.values():
            self._study.note(active.trial, interrupted=True)
            active.process.kill()


def checked_command(sweep: Sweep, controller: Controller) -> Sequence[str]:
    """The command of a first trial with a value for each parameter: SweepError now, and not for every trial."""
    values = {parameter.name: "" for parameter in sweep.config.parameters}
    command = controller.command(Trial(0, RUNNING, values))
    program = os.path.join(sweep.record.folder, sweep.config.program)
    if sweep.config.program and sweep.config.program in command and not os.path.exists(program):
        raise SweepError(f"the program {sweep.config.program!r} is not in {sweep.record.folder}")
    return command
