"""What is left when processes are killed: the agent, the training, or both, in the middle of a delivery."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.probes.agents import (
    LONG,
    agents,
    control,
    ended_agents,
    environment,
    logged,
    printed,
    run_folder,
    train,
    until,
)  # fmt: skip
from tests.probes.probe_backend import lines, outcomes, points
from tracelet.agent.process.locks import holder, lock_path
from tracelet.store.process_status import NO_EXIT_RECORD


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def sync(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`tracelet sync` in the folder of the training."""
    return subprocess.run(
        [sys.executable, "-m", "tracelet", "sync", *arguments], cwd=tmp_path, env=environment(), text=True,
        capture_output=True, timeout=LONG * 3, check=False,
    )  # fmt: skip


def kill(pid: int) -> None:
    """End a process as the kernel does when memory is short."""
    os.kill(pid, signal.SIGKILL)


def status(tmp_path: Path) -> tuple[str, str]:
    """What the reader says of the run."""
    info = tracelet.open_store(tmp_path / ".tracelet").run("latest").info
    return info.status, info.reason


def test_a_killed_agent_is_started_again_and_goes_on(tmp_path: Path) -> None:
    """The agent is killed while it delivers: another one takes over where it was, and nothing is lost or doubled."""
    process = train(tmp_path, wait=False, count=400, pause=0.02)
    folder = run_folder(tmp_path)
    until(lambda: len(points(tmp_path)) > 20)
    first = holder(lock_path(folder))
    kill(first)
    printed(process)
    assert points(tmp_path) == logged(400)
    assert outcomes(tmp_path) == ["finished"]
    assert len({line["pid"] for line in lines(tmp_path)}) == 2


def another(folder: Path, killed: list[int]) -> int:
    """The agent of a run, if it is none of those, which may be there for a moment after their death; else 0."""
    found = holder(lock_path(folder))
    return 0 if found in killed else found


def test_an_agent_that_is_killed_twice_is_not_started_again_and_sync_delivers(tmp_path: Path) -> None:
    """After its second death the user is told what to type, the training is as it was, and `sync` brings the rest."""
    control(tmp_path, "slow")
    process = train(tmp_path, wait=False, count=600, pause=0.02, timeout=20)
    folder = run_folder(tmp_path)
    killed: list[int] = []
    for _ in range(2):
        killed.append(until(lambda: another(folder, killed)))
        kill(killed[-1])
        until(lambda: not agents(tmp_path))
    said = printed(process)
    assert process.returncode == 0
    assert f"tracelet sync {folder.name}" in said["stderr"]
    assert agents(tmp_path) == []
    control(tmp_path, "")
    done = sync(tmp_path)
    assert done.returncode == 0, done.stderr
    assert points(tmp_path) == logged(600)
    assert outcomes(tmp_path) == ["finished"]


def test_both_killed_and_synced(tmp_path: Path) -> None:
    """Training and agent are killed at once: `sync` delivers all that was on disk, and the run was killed."""
    process = train(tmp_path, wait=False, count=10_000, pause=0.002)
    folder = run_folder(tmp_path)
    until(lambda: len(points(tmp_path)) > 100)
    kill(holder(lock_path(folder)))
    process.kill()
    printed(process)
    done = sync(tmp_path, folder.name)
    assert done.returncode == 0, done.stderr
    arrived = points(tmp_path)
    assert arrived == logged(len(arrived))
    series = tracelet.open_store(tmp_path / ".tracelet").run("latest").series("loss")
    assert len(arrived) == len(series)
    assert outcomes(tmp_path) == ["killed"]


def test_a_killed_training_is_noticed_within_five_seconds(tmp_path: Path) -> None:
    """The agent outlives a SIGKILL of the training, writes its status and closes the run at the backend."""
    process = train(tmp_path, wait=False, count=100, end="wait")
    until(lambda: len(points(tmp_path)) == 100)
    process.kill()
    began = time.monotonic()
    process.wait()
    until(lambda: outcomes(tmp_path) == ["killed"])
    assert time.monotonic() - began < 5.0
    printed(process)
    assert status(tmp_path) in {("killed", "SIGKILL"), ("killed", NO_EXIT_RECORD)}  # not every kernel tells


def test_sigterm_ends_the_training_and_the_agent_tells_it(tmp_path: Path) -> None:
    """A SIGTERM that nobody catches ends the training as usual; what was logged arrives."""
    process = train(tmp_path, wait=False, count=100, end="wait")
    until(lambda: len(points(tmp_path)) == 100)
    process.terminate()
    printed(process)
    assert process.returncode == -signal.SIGTERM
    until(lambda: outcomes(tmp_path))
    assert outcomes(tmp_path) in (["preempted"], ["killed"])  # not every kernel tells


def test_the_agent_knows_how_a_killed_training_expected_to_end(tmp_path: Path) -> None:
    """A training that was told to end by a SIGTERM and is then killed was preempted, for readers and backends."""
    script = (
        "import time, tracelet\nfrom tracelet.session import active_session as session\n"
        "e = tracelet.start_logging('x', backend={'probe': {'class': 'tests.probes.probe_backend:ProbeBackend', "
        f"'folder': {str(tmp_path)!r}}}}})\n"
        "e.log_metric('loss', 1.0, step=0)\n"
        "session._current.writer.expect('preempted', 'SIGTERM')\ntime.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment())
    until(lambda: points(tmp_path))
    time.sleep(1.0)
    process.kill()
    process.wait()
    until(lambda: outcomes(tmp_path) == ["preempted"])
    assert status(tmp_path) == ("preempted", "SIGTERM")


def test_an_agent_that_is_terminated_delivers_what_it_can_and_leaves(tmp_path: Path) -> None:
    """SIGTERM to the agent alone: it waits a little for the training to end as well, then finishes in seconds."""
    control(tmp_path, "fail")
    process = train(tmp_path, wait=False, count=20, timeout=0.2)
    printed(process)
    (agent,) = agents(tmp_path)
    agent.send_signal(signal.SIGTERM)
    began = time.monotonic()
    until(lambda: not agents(tmp_path))
    assert time.monotonic() - began < 12.0


def test_a_hanging_backend_does_not_keep_the_agent(tmp_path: Path) -> None:
    """A call that never returns: the agent leaves when its time is up, and `sync` finds everything to deliver."""
    control(tmp_path, "hang")
    printed(train(tmp_path, count=20, timeout=0.2, config={"agent_linger": 2}))
    until(lambda: not agents(tmp_path))
    control(tmp_path, "")
    assert sync(tmp_path).returncode == 0
    assert points(tmp_path) == logged(20)


def test_an_agent_that_left_is_not_started_again(tmp_path: Path) -> None:
    """Its time is up while `stop_logging()` still waits: it has not died, and the user is told what is left."""
    control(tmp_path, "fail")
    said = printed(train(tmp_path, count=20, timeout=LONG, config={"agent_linger": 0.5}))
    folder = run_folder(tmp_path)
    assert (folder / "agent.log").read_text("utf-8").count(", agent ") == 1
    assert f"tracelet sync {folder.name}" in said["stderr"]
    assert "continues in the background" not in said["stderr"]
    control(tmp_path, "")
    assert sync(tmp_path).returncode == 0
    assert points(tmp_path) == logged(20)
