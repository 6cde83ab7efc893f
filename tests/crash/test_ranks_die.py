"""Ranks that die or hang: the status is right, what was on disk stays, nothing is left behind or held up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import tracelet
from tests.crash.test_signals import REMEMBERS
from tests.environments import lightning_python
from tests.probes.agents import ended_agents
from tracelet.store.run import Run

TRAINING = Path(__file__).parent.parent / "probes" / "interrupted.py"
SETTINGS = {
    "TRACELET_QUIET": "1", "TRACELET_DELIVERY": "agent", "TRACELET_TRACK_SYSTEM": "0", "TRACELET_TRACK_GIT": "0",
    "TRACELET_TRACK_ENV": "0", "TRACELET_BACKEND": "jsonl", "OMP_NUM_THREADS": "1", "TRACELET_RANK_DEADLINE": "3",
}  # fmt: skip
BOUND = 120.0
"""Seconds within which everything has to be over, Lightning's own observers included."""


def start(strategy: str = "ddp") -> subprocess.Popen[bytes]:
    """Begin a training on two ranks that would never end."""
    command = [lightning_python(), str(TRAINING), "ddp" if strategy == "torchrun" else strategy, "2"]
    if strategy == "torchrun":
        command[1:1] = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with open("output.txt", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **SETTINGS}, start_new_session=True)


def until(what: str, true: Callable[[], bool]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + BOUND
    while not true():
        assert time.monotonic() < deadline, f"never came: {what}\n{Path('output.txt').read_text(errors='replace')}"
        time.sleep(0.1)


def the_run() -> Run | None:
    """The run, once there is one."""
    runs = tracelet.open_store().runs()
    return runs[0] if runs else None


def steps(rank: int) -> int:
    """How many steps of a rank are on disk."""
    run = the_run()
    try:
        return len(run.series("loss", rank=rank)) if run else 0
    except KeyError:
        return 0


def process_of(rank: int) -> psutil.Process:
    """The last process of a rank."""
    run = the_run()
    assert run is not None
    return psutil.Process([one.started.pid for one in run.processes if one.started.rank == rank][-1])


def over(process: subprocess.Popen[bytes]) -> Run:
    """Wait until the training and all its ranks have ended, and nobody is left."""
    until("the end of the launcher", lambda: process.poll() is not None)
    run = the_run()
    assert run is not None
    until("the end of all ranks", lambda: all(not psutil.pid_exists(one.started.pid) for one in run.processes))
    until("the status", lambda: Run(run.path).info.status != "running")
    return Run(run.path)


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "strategy"), [(1, "ddp"), (0, "ddp"), (1, "ddp_fork")])
def test_a_rank_is_killed(tmp_path: Path, victim: int, strategy: str) -> None:
    """Whichever rank is killed, under whichever launcher: the run does not end well, and its steps are there."""
    with ended_agents(tmp_path):
        process = start(strategy)
        until("some steps", lambda: min(steps(0), steps(1)) > 10)
        before = min(steps(0), steps(1))
        process_of(victim).kill()
        if victim == 0:  # the launcher itself: nobody is left to end rank 1, which waits in a collective
            time.sleep(2.0)
            process_of(1).kill()
        run = over(process)
        assert run.info.status in ("failed", "killed"), run.info
        killed = [one.status for one in run.processes if one.started.rank == victim][-1]
        assert killed.status == "killed"
        assert victim == 0 or "rank 1 killed" in run.info.reason
        series = run.series("loss")
        assert series.steps.tolist() == list(range(len(series)))
        assert len(series) >= before
        until("the delivery", lambda: run.deliveries["jsonl"].state == "done")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "number", "status"),
    [("ddp_fork", signal.SIGKILL, "killed"), ("ddp_fork", signal.SIGTERM, "preempted"),
     ("ddp_spawn", signal.SIGKILL, "killed"), ("torchrun", signal.SIGTERM, "preempted")],
)  # fmt: skip
def test_the_launcher_is_killed(tmp_path: Path, strategy: str, number: signal.Signals, status: str) -> None:
    """A launcher that trains nothing itself dies, and its ranks with it: the status is right, all steps are there."""
    with ended_agents(tmp_path):
        process = start(strategy)
        until("some steps", lambda: min(steps(0), steps(1)) > 10)
        before = min(steps(0), steps(1))
        assert process.pid not in {process_of(0).pid, process_of(1).pid}
        process.send_signal(number)
        run = over(process)
        # Not every kernel tells what ended a process that had no time to say it.
        assert run.info.status in ({status} if REMEMBERS or strategy == "torchrun" else {status, "killed"}), run.info
        series = run.series("loss")
        assert series.steps.tolist() == list(range(len(series)))
        assert len(series) >= before
        assert run.problems == []
        until("the delivery", lambda: run.deliveries["jsonl"].state == "done")


@pytest.mark.slow
def test_a_rank_that_hangs_holds_up_no_delivery(tmp_path: Path) -> None:
    """A stopped rank keeps the other one waiting, as without us; what is there is delivered after the deadline."""
    with ended_agents(tmp_path):
        process = start()
        until("some steps", lambda: min(steps(0), steps(1)) > 10)
        hanging = process_of(1)
        hanging.send_signal(signal.SIGSTOP)
        try:
            run = the_run()
            assert run is not None
            time.sleep(1.5)
            reached = steps(0)
            until("the delivery", lambda: run.deliveries["jsonl"].points >= reached)
            assert Run(run.path).info.status == "running"
        finally:
            hanging.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert over(process).info.status in ("preempted", "failed", "killed")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_fork"])
def test_ctrl_c_in_the_terminal(tmp_path: Path, strategy: str) -> None:
    """The terminal interrupts all ranks at once, and so the run ends, even if rank 0 kills one before that hears it."""
    with ended_agents(tmp_path):
        process = start(strategy)
        until("some steps", lambda: min(steps(0), steps(1)) > 10)
        before = min(steps(0), steps(1))
        os.killpg(process.pid, signal.SIGINT)
        run = over(process)
        assert (run.info.status, run.info.reason) == ("interrupted", "KeyboardInterrupt")
        ends = {one.started.rank: one.status.status for one in run.processes}
        assert ends[0] == "interrupted"
        assert ends[1] in ("interrupted", "killed")  # it may wait in a collective, where no signal reaches Python
        assert min(steps(0), steps(1)) >= before
        until("the delivery", lambda: run.deliveries["jsonl"].state == "done")


@pytest.mark.slow
def test_a_cluster_that_loses_its_patience(tmp_path: Path) -> None:
    """SIGTERM to all ranks at once, over which Lightning's own ranks wait for each other, then SIGKILL: preempted."""
    with ended_agents(tmp_path):
        process = start()
        until("some steps", lambda: min(steps(0), steps(1)) > 10)
        os.killpg(process.pid, signal.SIGTERM)

        def told() -> bool:
            run = the_run()
            assert run is not None
            said = [view.status for view in run.views if view.path.name.startswith("rank-")]
            return all(status is not None and "preempted" in (status.expected, status.status) for status in said)

        until("word of the SIGTERM", told)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        run = over(process)
        assert (run.info.status, run.info.reason) == ("preempted", "SIGTERM")
        assert {(one.status.status, one.status.reason) for one in run.processes} == {("preempted", "SIGTERM")}
