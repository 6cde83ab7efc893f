"""What an agent can tell of a process that ended without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tracelet.agent.process.exit_cause import OUT_OF_MEMORY, ExitWatcher, classify, oom_counter_path, read_oom_count
from tracelet.store.pids import process_start
from tracelet.store.process_status import NO_EXIT_RECORD

CASES = [
    (signal.SIGTERM, "preempted", "SIGTERM"),
    (signal.SIGUSR1, "preempted", "SIGUSR1"),
    (signal.SIGUSR2, "preempted", "SIGUSR2"),
    (signal.SIGXCPU, "preempted", "SIGXCPU"),
    (signal.SIGHUP, "interrupted", "SIGHUP"),
    (signal.SIGKILL, "killed", "SIGKILL"),
    (signal.SIGALRM, "killed", "SIGALRM"),
    (signal.SIGSEGV, "failed", "crash: SIGSEGV"),
]


@pytest.mark.parametrize(("number", "status", "reason"), CASES)
def test_each_signal_has_its_status(number: signal.Signals, status: str, reason: str) -> None:
    """Those that clusters announce an end with preempt, those of a terminal interrupt, crashes fail, others kill."""
    assert classify(int(number), short_of_memory=False) == (status, reason)


def test_a_kill_for_want_of_memory_is_told_from_others() -> None:
    """It takes a SIGKILL (or an unknown end) and a kernel that has just counted one; a SIGTERM stays one."""
    assert classify(signal.SIGKILL, short_of_memory=True) == ("killed", OUT_OF_MEMORY)
    assert classify(None, short_of_memory=True) == ("killed", OUT_OF_MEMORY)
    assert classify(None, short_of_memory=False) == ("killed", NO_EXIT_RECORD)
    assert classify(signal.SIGTERM, short_of_memory=True) == ("preempted", "SIGTERM")


def test_exit_codes() -> None:
    """Who left by os._exit(0) finished, who left with another code failed."""
    assert classify(0, short_of_memory=False)[0] == "finished"
    status, reason = classify(5 << 8, short_of_memory=False)
    assert (status, reason.split(",")[0]) == ("failed", "exit code 5")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked through /proc and pidfds")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_kernel_is_asked(number: signal.Signals) -> None:
    """As long as nobody has waited for the process its status is known; afterwards newer kernels remember it."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        before, after = (ExitWatcher(process.pid, process_start(process.pid)) for _ in range(2))
        for exit_watcher in (before, after):
            exit_watcher.update()
        process.send_signal(number)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        known = classify(number, short_of_memory=False)
        assert before.status_and_reason() == known
        process.wait()
        assert before.status_and_reason() == known
        assert after.status_and_reason() in (known, ("killed", NO_EXIT_RECORD))
        before.close()
        after.close()


def test_another_process_with_the_same_number_is_nobody_we_know() -> None:
    """A process id that was given to a later process tells nothing."""
    exit_watcher = ExitWatcher(os.getpid(), 1.0)
    assert exit_watcher.status_and_reason() == ("killed", NO_EXIT_RECORD)
    exit_watcher.close()


def test_kills_that_the_kernel_counts_while_one_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A count that has grown between the first look and the end is the reason; one that was there before is not."""
    counter = tmp_path / "memory.events"
    counter.write_text("oom 7\noom_kill 3\noom_group_kill 0\n", encoding="utf-8")
    monkeypatch.setattr("tracelet.agent.process.exit_cause.oom_counter_path", lambda pid: counter)
    exit_watcher = ExitWatcher(os.getpid(), 1.0)
    exit_watcher.update()
    assert exit_watcher.status_and_reason() == ("killed", NO_EXIT_RECORD)
    counter.write_text("oom 8\noom_kill 4\noom_group_kill 0\n", encoding="utf-8")
    assert exit_watcher.status_and_reason() == ("killed", OUT_OF_MEMORY)


def test_where_the_kernel_counts(tmp_path: Path) -> None:
    """In the process's cgroup of either version, else in the one that a container sees, else for the whole machine."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "1").mkdir(parents=True)
    (proc / "vmstat").write_text("nr_free_pages 1\noom_kill 9\n", encoding="utf-8")
    (groups / "job").mkdir(parents=True)
    assert oom_counter_path(1, proc, groups) == proc / "vmstat"
    assert read_oom_count(proc / "vmstat") == 9
    (proc / "1" / "cgroup").write_text("0::/job\n", encoding="utf-8")
    assert oom_counter_path(1, proc, groups) == proc / "vmstat"
    (groups / "memory.events").write_text("oom_kill 1\n", encoding="utf-8")
    assert oom_counter_path(1, proc, groups) == groups / "memory.events"
    (groups / "job" / "memory.events").write_text("oom_kill 2\n", encoding="utf-8")
    assert oom_counter_path(1, proc, groups) == groups / "job" / "memory.events"
    (groups / "memory" / "step").mkdir(parents=True)
    (groups / "memory" / "step" / "memory.oom_control").write_text("under_oom 0\noom_kill 4\n", encoding="utf-8")
    (proc / "1" / "cgroup").write_text("9:cpu:/x\n4:memory:/step\n0::/\n", encoding="utf-8")
    assert read_oom_count(oom_counter_path(1, proc, groups)) == 4
    assert read_oom_count(tmp_path / "nowhere") == 0
