"""How a run stands, out of how its processes do."""

from __future__ import annotations

import msgspec
import pytest

from tracelet.journal.records import Started, Status
from tracelet.store.process_status import ProcessStatus
from tracelet.store.run_status import combined_status, lead_process, world_size


def one(rank: int, status: str, reason: str = "", time: int = 10, **more: object) -> ProcessStatus:
    """A process."""
    fields = {"run": "r", "name": "n", "project": "p", "time": 1, "host": "h", "pid": 1, "world_size": 2, **more}
    return ProcessStatus(Started(rank=rank, **fields), Status(time=time, status=status, reason=reason))  # type: ignore[arg-type]


def told(rank: int, status: str, reason: str, time: int) -> ProcessStatus:
    """A process whose end an agent has noticed."""
    return ProcessStatus(
        one(rank, status).started, Status(time=time, status=status, reason=reason, about="rank-1.0.tlj")
    )


@pytest.mark.parametrize(
    ("processes", "status", "reason"),
    [
        ([one(0, "finished"), one(1, "finished")], "finished", ""),
        ([one(0, "running"), one(1, "killed")], "running", ""),
        ([one(0, "finished"), one(1, "killed", "gone")], "failed", "rank 1 killed (gone)"),
        ([one(0, "killed", "a"), one(1, "killed", "b", time=5)], "killed", "rank 1 killed (b); then rank 0 killed (a)"),
        ([one(0, "killed", "a", time=5), one(1, "failed", "b")], "killed", "a"),
        ([one(0, "preempted", "SIGTERM"), one(1, "preempted", "SIGTERM")], "preempted", "SIGTERM"),
        ([one(0, "failed", "lost", time=10), told(1, "killed", "memory", time=1_000_000)], "failed",
         "rank 1 killed (memory); at about that time rank 0 failed (lost)"),
        ([one(0, "interrupted", "Ctrl-C", time=10_000_000), told(1, "killed", "b", time=9_000_000)],
         "interrupted", "Ctrl-C"),
        ([one(0, "preempted", "SIGTERM", time=99_000_000), told(1, "killed", "b", time=9_000_000)],
         "preempted", "rank 1 killed (b); then rank 0 preempted (SIGTERM)"),
        ([one(0, "finished", world_size=1), one(0, "failed", "x", attempt=1, parent="p")], "finished", ""),
        ([one(0, "killed", "old"), one(0, "finished", attempt=1, branch=1)], "finished", ""),
        ([one(1, "killed", "old"), one(0, "finished", attempt=1, branch=1)], "finished", ""),
    ],
)  # fmt: skip
def test_the_verdict(processes: list[ProcessStatus], status: str, reason: str) -> None:
    """The leading process gives the run its status, and a rank that fell before it, or without it, is told first."""
    found = combined_status(processes)
    assert (found.status, found.reason) == (status, reason)


def test_the_traceback_is_that_of_what_fell_first() -> None:
    """Rank 0 failed because rank 1 had: rank 1's traceback is the run's; one that was killed leaves none."""
    started = [one(rank, "failed").started for rank in range(2)]
    lost = ProcessStatus(started[0], Status(time=10, status="failed", reason="closed by peer", traceback="of rank 0"))
    boom = ProcessStatus(started[1], Status(time=5, status="failed", reason="boom", traceback="of rank 1"))
    assert combined_status([lost, boom]).traceback == "of rank 1"
    assert combined_status([one(0, "finished"), boom]).traceback == "of rank 1"
    assert combined_status([lost, one(1, "killed", "gone", time=5)]).traceback == "of rank 0"


def test_a_bug_in_one_rank_is_no_preemption() -> None:
    """torchrun ends rank 0 by SIGTERM because rank 1 raised: the run has failed, with rank 1's traceback."""
    lead = one(0, "preempted", "SIGTERM", time=10_000_000)
    bug = Status(time=9_000_000, status="failed", reason="ValueError: rank 1 fails", traceback="of rank 1")
    found = combined_status([lead, ProcessStatus(one(1, "failed").started, bug)])
    assert (found.status, found.traceback) == ("failed", "of rank 1")
    assert found.reason == "rank 1 failed (ValueError: rank 1 fails); then rank 0 preempted (SIGTERM)"
    later = msgspec.structs.replace(bug, time=11_000_000)
    lost = msgspec.structs.replace(bug, reason="RuntimeError: Connection closed by peer [127.0.0.1]")
    for victim in (later, lost):
        assert combined_status([lead, ProcessStatus(one(1, "failed").started, victim)]) == lead.status


def test_who_leads() -> None:
    """The lowest rank of the last branch that was not launched by another; the world is that branch's."""
    launcher = one(0, "running", world_size=1, pid=7)
    ranks = [one(rank, "finished", parent="rank-0.0.tlj", attempt=1 - rank) for rank in range(2)]
    assert lead_process([launcher, *ranks]) is launcher
    assert world_size([launcher, *ranks]) == 2
    resumed = one(0, "finished", branch=1, attempt=2, world_size=4)
    assert lead_process([launcher, *ranks, resumed]) is resumed
    assert world_size([launcher, *ranks, resumed]) == 4
