"""A SLURM job that is announced its end, requeued by Lightning, ended, and started again: one run."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.environments import lightning_python
from tests.probes.agents import ended_agents, until
from tracelet.store.run import Run

TRAINING = Path(__file__).parent.parent / "probes" / "interrupted.py"
STEPS = 40
SETTINGS = {
    "TRACELET_QUIET": "1", "TRACELET_DELIVERY": "agent", "TRACELET_TRACK_SYSTEM": "0", "TRACELET_TRACK_GIT": "0",
    "TRACELET_TRACK_ENV": "0", "TRACELET_RESUME": "auto", "OMP_NUM_THREADS": "1", "STEPS": str(STEPS), "SLURM": "1",
    "SLURM_JOB_ID": "4711", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
    "SLURM_JOB_NAME": "train",
}  # fmt: skip
SCONTROL = """#!/bin/sh
echo "$@" >> scontrol.log
(sleep 0.3; kill -{signal} $PPID) &
"""
"""As SLURM does with a requeued job, which is ended at once."""


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def start(restarts: int) -> subprocess.Popen[bytes]:
    """The job's nth start."""
    path = f"{Path.cwd() / 'bin'}:{os.environ.get('PATH', '')}"
    with open("output.txt", "ab") as log:
        return subprocess.Popen(
            [lightning_python(), str(TRAINING)], stdout=log, stderr=log,
            env={**os.environ, **SETTINGS, "SLURM_RESTART_COUNT": str(restarts), "PATH": path},
        )  # fmt: skip


def only_run() -> Run:
    """The one run that there is."""
    (run,) = tracelet.open_store().runs()
    return run


def announced(restarts: int, least: int, end: str) -> Run:
    """Start the job; once it has got so far it gets SLURM's signal and then, being requeued, the signal `end`."""
    Path("bin").mkdir(exist_ok=True)
    scontrol = Path("bin/scontrol")
    scontrol.write_text(SCONTROL.format(signal=end), encoding="utf-8")
    scontrol.chmod(0o755)
    process = start(restarts)

    def far_enough() -> bool:
        runs = tracelet.open_store().runs()
        return bool(runs and "loss" in runs[0].metrics() and runs[0].series("loss").steps[-1] >= least)

    until(lambda: process.poll() is not None or far_enough(), 90.0)
    process.send_signal(signal.SIGUSR1)
    process.wait(60)
    until(lambda: only_run().info.status != "running")
    return only_run()


@pytest.mark.slow
def test_a_requeued_job_goes_on_as_one_run() -> None:
    """Ended politely, for good, and at its end: each time the reason is told, and each step is there once."""
    run = announced(0, 5, "TERM")
    assert (run.info.status, run.info.reason) == ("preempted", "SIGTERM after SIGUSR1, requeued by SLURM")
    run = announced(1, int(run.series("loss").steps[-1]) + 3, "KILL")
    assert (run.info.status, run.info.reason) == ("preempted", "SIGUSR1, requeued by SLURM")
    assert Path("scontrol.log").read_text(encoding="utf-8").splitlines() == ["requeue 4711"] * 2
    assert start(2).wait(120) == 0, Path("output.txt").read_text(encoding="utf-8")
    run = only_run()
    assert (run.info.status, run.problems) == ("finished", [])
    steps = run.series("loss").steps.tolist()
    assert steps == list(range(len(steps)))
    assert STEPS <= len(steps) <= STEPS + 2  # Lightning counts twice the step in which it saved the signal's checkpoint
    assert [view.started.branch for view in run.views if view.started and view.started.role == "rank"] == [0, 1, 2]
