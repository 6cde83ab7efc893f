"""What clusters and terminals do to jobs: each end has its status and reason, and what was logged is on disk."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import tracelet
from tests.probes.agents import agents, ended_agents, environment, train, until
from tracelet.agent.process.exit_cause import OUT_OF_MEMORY
from tracelet.store.process_status import NO_EXIT_RECORD
from tracelet.store.run import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked through /proc, pidfds and cgroups")
RELEASE = tuple(int(part) for part in platform.release().split("-", maxsplit=1)[0].split(".")[:2])
REMEMBERS = RELEASE >= (6, 15)
"""Whether the kernel tells how a process ended that its parent has waited for already."""
CONFIG = {"track_system": False, "track_git": False, "track_env": False, "quiet": True}
HUNGRY = """
import time, tracelet
run = tracelet.start_logging("hungry", config=dict(track_git=False, track_env=False, metrics_interval=1.0, quiet=True))
for step in range(100):
    run.log_metric("m", 1.0, step)
run.flush()
time.sleep(3)
kept = []
while True:
    kept.append(b"x" * 10_000_000)
"""


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def latest(folder: Path) -> Run:
    """The newest run below a folder."""
    return tracelet.open_store(folder / ".tracelet").run("latest")


def started(folder: Path) -> subprocess.Popen[str]:
    """A training that logs 100 points and waits, with an agent that has begun to look after it."""
    folder.mkdir()
    process = train(folder, wait=False, names=[], count=100, end="wait", config=CONFIG)
    until(lambda: list((folder / ".tracelet" / "runs").glob("*/node-*")))
    until(lambda: "loss" in latest(folder).metrics() and len(latest(folder).series("loss")) == 100)
    return process


@pytest.mark.slow
def test_signals_that_nobody_handles(tmp_path: Path) -> None:
    """A program that one of them ends was preempted or interrupted by it; what it had logged is there."""
    cases = {"SIGTERM": "preempted", "SIGUSR1": "preempted", "SIGUSR2": "preempted", "SIGXCPU": "preempted",
             "SIGHUP": "interrupted", "SIGKILL": "killed", "SIGSEGV": "failed"}  # fmt: skip
    processes = {name: started(tmp_path / name) for name in cases}
    for name, process in processes.items():
        process.send_signal(signal.Signals[name])
        process.wait()
    for name, status in cases.items():
        until(lambda name=name: not agents(tmp_path / name))  # type: ignore[misc]
        run = latest(tmp_path / name)
        reason = f"crash: {name}" if name == "SIGSEGV" else name
        known = (status, reason)
        assert (run.info.status, run.info.reason) in ({known} if REMEMBERS else {known, ("killed", NO_EXIT_RECORD)})
        assert len(run.series("loss")) == 100
        assert run.problems == []


@pytest.mark.slow
def test_an_agent_survives_what_a_cluster_sends_to_all_processes_of_a_job(tmp_path: Path) -> None:
    """The announcing signals are for the training: the agent goes on, and tells how the training ended."""
    process = started(tmp_path / "job")
    (agent,) = agents(tmp_path / "job")
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU, signal.SIGINT):
        agent.send_signal(number)
    time.sleep(0.5)
    assert agents(tmp_path / "job") == [agent]
    process.kill()
    process.wait()
    until(lambda: not agents(tmp_path / "job"))
    run = latest(tmp_path / "job")
    assert [view.status.status for view in run.views if view.path.name.startswith("node-") and view.status] == [
        "finished"
    ]
    assert run.info.status == "killed"


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """A cgroup with so much memory, of whichever version; the test is skipped where none may be made."""
    first, second = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root, file = (first, "memory.limit_in_bytes") if (first / "cgroup.procs").exists() else (second, "memory.max")
    group = root / f"tracelet-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        try:
            (group / file).write_text(str(limit), encoding="utf-8")
        except OSError as error:
            pytest.skip(f"no memory cgroup can be limited here: {error}")
        yield group
    finally:
        until(lambda: not (group / "cgroup.procs").read_text(encoding="utf-8").strip())
        group.rmdir()


@pytest.mark.slow
def test_a_kill_for_want_of_memory_is_told_as_one(tmp_path: Path) -> None:
    """In a cgroup that is too small the kernel kills the training: the reason says so, and the points are there."""
    with memory_group(400_000_000) as group:
        script = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -c '{HUNGRY}'"
        done = subprocess.run(["/bin/sh", "-c", script], env=environment(), cwd=tmp_path, timeout=120, check=False)
        assert done.returncode == -signal.SIGKILL
        until(lambda: not agents(tmp_path))
        run = latest(tmp_path)
        assert (run.info.status, run.info.reason) == ("killed", OUT_OF_MEMORY)
        assert len(run.series("m")) == 100
        assert psutil.pid_exists(run.info.pid) is False
