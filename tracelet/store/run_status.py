"""Combines the statuses of a run's processes into the status of the run. Used by `Run` and by the agent. Pure.

The leading process is the one with the lowest rank that no process of the run has launched, in the run's last branch.
If another rank failed before it, the run's reason and traceback begin with that rank: the leading process's own error
is mostly that it lost that rank. If the leading process finished although another rank was killed or failed, the run
has failed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from tracelet.journal.records import FAILED, FINISHED, INTERRUPTED, KILLED, PREEMPTED, RUNNING, Status
from tracelet.store.process_status import ProcessStatus

UNSUCCESSFUL = (FAILED, KILLED)
STOPPED = (INTERRUPTED, PREEMPTED)
"""Whatever ended the leading process like this has ended the others too, or its launcher has: they are not
the cause.
"""
STOP_WINDOW = 30_000_000
"""Microseconds within which they then end; a cluster sends SIGKILL after that."""
DETECTION_DELAY = 2_000_000
"""Microseconds after the death of a process by which an agent has noticed it."""
VICTIM = re.compile(
    r"connection (closed|reset|refused)|broken pipe|DistBackendError|DistNetworkError|NCCL|timed out", re.IGNORECASE
)
"""Errors of a process that has lost another one."""


def lead_process(processes: Sequence[ProcessStatus]) -> ProcessStatus:
    """The process that represents the run; there is at least one."""
    last = max(one.started.branch for one in processes)
    branch = [one for one in processes if one.started.branch == last]
    own = [one for one in branch if not one.started.parent] or branch
    return max(own, key=lambda one: (-one.started.rank, one.started.attempt))


def combined_status(processes: Sequence[ProcessStatus]) -> Status:
    """The status of the run; reason and traceback begin with the process that failed first."""
    lead = lead_process(processes)
    status = lead.status
    if status.status == RUNNING:
        return status
    others = [one for one in processes if one.started.branch == lead.started.branch and one is not lead]
    fallen = [one for one in others if one.status.status in UNSUCCESSFUL and one.started.rank != lead.started.rank]
    if status.status == FINISHED:
        fallen = [one for one in fallen if not one.started.parent]  # a launcher reports its own ranks' failures
    elif status.status in STOPPED:
        causes = [one for one in fallen if status.status == PREEMPTED and _is_cause(one.status, status)]
        if causes:
            status = msgspec.structs.replace(status, status=FAILED)  # torchrun and srun end the other ranks by SIGTERM
        fallen = causes or [one for one in fallen if one.status.time < status.time - STOP_WINDOW]
    else:
        fallen = [
            one for one in fallen if one.status.time - (DETECTION_DELAY if one.status.about else 0) <= status.time
        ]
    if not fallen:
        return status
    first = min(fallen, key=lambda one: one.status.time)
    description = _describe(first)
    traceback = first.status.traceback or status.traceback
    if status.status == FINISHED:
        return Status(time=status.time, status=FAILED, reason=description, traceback=traceback)
    when = "then" if first.status.time <= status.time else "at about that time"
    reason = f"{description}; {when} {_describe(lead)}"
    return Status(time=status.time, status=status.status, reason=reason, traceback=traceback)


def _is_cause(found: Status, lead: Status) -> bool:
    """Whether a process failed by an exception of its own before the leading process was stopped."""
    own = found.status == FAILED and not found.about and bool(found.traceback)
    return own and found.time <= lead.time and not VICTIM.search(found.reason)


def _describe(one: ProcessStatus) -> str:
    reason = f" ({one.status.reason})" if one.status.reason else ""
    return f"rank {one.started.rank} {one.status.status}{reason}"


def world_size(processes: Sequence[ProcessStatus]) -> int:
    """The number of ranks of the last branch."""
    last = max(one.started.branch for one in processes)
    return max(one.started.world_size for one in processes if one.started.branch == last)
