"""How a trial ended: status, best metric and reason, from its exit code and its run. Used by controllers."""

from __future__ import annotations

import difflib
from typing import NamedTuple

from tracelet.journal.records import FAILED as RUN_FAILED
from tracelet.journal.records import FINISHED as RUN_FINISHED
from tracelet.store.run import Run
from tracelet.sweeps.objective import Objective
from tracelet.sweeps.study import FAILED, FINISHED, PRUNED

MAX_NAMES = 5


class Outcome(NamedTuple):
    """The end of one attempt of a trial."""

    status: str
    metric: float | None
    reason: str


def outcome(run: Run | None, exit_code: int | None, objective: Objective | None, pruned: str = "") -> Outcome:
    """The outcome of a process that is gone. `pruned`: why it was asked to end; `exit_code`: None if unknown."""
    metric = best_metric(run, objective)
    info = None if run is None else run.info
    succeeded = exit_code == 0 if exit_code is not None else info is not None and info.status == RUN_FINISHED
    if pruned and not (succeeded and info is not None and info.status == RUN_FINISHED):
        return Outcome(PRUNED, metric, pruned)
    if not succeeded:
        return Outcome(FAILED, metric, _failure(run, exit_code))
    if objective is not None and metric is None:
        return Outcome(FAILED, None, _no_metric(run, objective.name))
    return Outcome(FINISHED, metric, "")


def best_metric(run: Run | None, objective: Objective | None) -> float | None:
    """The best value that the run logged, as wandb counts it; NaN if there is no other."""
    if run is None or objective is None or objective.name not in run.metrics():
        return None
    return objective.best(run.series(objective.name).values.tolist())


def _failure(run: Run | None, exit_code: int | None) -> str:
    if run is not None:
        info = run.info
        if info.status != RUN_FINISHED:
            if info.status == RUN_FAILED and info.reason:
                return info.reason
            return f"{info.status}: {info.reason}" if info.reason else info.status
    if exit_code is None:
        return "its process is gone, and it recorded no end"
    return f"killed by signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"


def _no_metric(run: Run | None, name: str) -> str:
    if run is None:
        return f"no Python program recorded a run, so {name!r} is unknown"
    known = [found for found in run.metrics() if not found.startswith(("system/", "gpu/"))]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else "it logged " + (", ".join(known[:MAX_NAMES]) or "no metric")
    return f"it did not log {name!r}; {hint}"
