"""What a person sees of a running sweep: one line for each event, with the best so far and the time that is left.

Called by controllers and by sweeps of functions, on their thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tracelet.sweeps.objective import Objective
from tracelet.sweeps.study import FAILED, FINISHED, PRUNED, RUNNING, SweepStudy, Trial
from tracelet.sweeps.sweep_folder import Sweep

EVENTS = {
    "started": "started", "adopted": "runs on, and is watched here now", "again": "failed and runs again",
    "stopping": "is stopped early", PRUNED: "pruned", FINISHED: "finished", FAILED: "failed",
}  # fmt: skip


class Progress:
    """Prints the events of one sweep."""

    def __init__(self, sweep: Sweep, study: SweepStudy, workers: int, say: Callable[[str], None]) -> None:
        self._sweep, self._study, self._workers, self._say = sweep, study, workers, say
        self._began: dict[int, float] = {}
        self._seconds: list[float] = []

    def tell(self, event: str, trial: Trial, reason: str) -> None:
        """Print an event."""
        if event == "started":
            self._began[trial.number] = time.monotonic()
            self._say(f"trial {trial.number} started: {described(trial.values)}")
            return
        objective = self._sweep.config.objective
        parts = [f"trial {trial.number} {EVENTS[event]}"]
        if objective is not None and trial.metric is not None and trial.status in {FINISHED, PRUNED}:
            parts.append(f"{objective.name} {trial.metric:.6g}")
        if reason:
            parts.append(reason)
        line = ": ".join(parts)
        if trial.has_ended:
            if trial.number in self._began:
                self._seconds.append(time.monotonic() - self._began.pop(trial.number))
            line += f"; {self._overall()}"
        self._say(line)

    def _overall(self) -> str:
        trials = self._study.trials()
        ended = [trial for trial in trials if trial.has_ended]
        parts = [f"{len(ended)} of {len(trials)}"]
        best = best_trial(trials, self._sweep.config.objective)
        if best is not None and best.metric is not None:
            parts.append(f"best {best.metric:.6g} (trial {best.number})")
        left = remaining_seconds(trials, self._seconds, self._workers)
        if left:
            parts.append(f"about {left:.0f} s left" if left < 120 else f"about {left / 60:.0f} min left")
        return ", ".join(parts)


def remaining_seconds(trials: Sequence[Trial], seconds: Sequence[float], workers: int) -> float:
    """How long the trials that have not ended will take, by the mean of those that have."""
    left = sum(not trial.has_ended for trial in trials)
    running = sum(trial.status == RUNNING for trial in trials)
    if not seconds or not left:
        return 0.0
    return sum(seconds) / len(seconds) * (left - running / 2) / max(1, workers)


def best_trial(trials: Sequence[Trial], objective: Objective | None) -> Trial | None:
    """The trial with the best metric, of those that finished or were ended early; None if there is none."""
    if objective is None:
        return None
    known = [t for t in trials if t.metric is not None and t.metric == t.metric and t.status in {FINISHED, PRUNED}]
    return min(known, key=lambda trial: objective.cost(trial.metric or 0.0), default=None)


def described(values: Mapping[str, Any]) -> str:
    """Parameters on one line."""
    return " ".join(f"{name}={_short(value)}" for name, value in values.items())


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
