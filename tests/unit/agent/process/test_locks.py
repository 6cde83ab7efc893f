"""Locks between real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.probes.agents import environment
from tracelet.agent.process.locks import Lock, holder, read_completed

HOLD = """
import sys, time
from pathlib import Path
from tracelet.agent.process.locks import Lock
print(Lock(Path(sys.argv[1])).acquire(), flush=True)
time.sleep(600)
"""


def test_one_process_holds_it_until_it_ends(tmp_path: Path) -> None:
    """While another process holds the lock it cannot be had, and its pid is known; after its death it can."""
    path = tmp_path / "folder" / "a.lock"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, env=environment()
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        lock = Lock(path)
        assert not lock.acquire()
        assert holder(path) == other.pid
        other.kill()
    assert holder(path) == 0
    assert lock.acquire(timeout=5.0)
    lock.release()
    assert holder(path) == 0


def test_nobody_holds_what_is_not_there(tmp_path: Path) -> None:
    """A missing file and one with something else in it are held by nobody."""
    assert holder(tmp_path / "none") == 0
    (tmp_path / "odd").write_text("odd")
    assert holder(tmp_path / "odd") == 0


def test_who_lets_go_may_leave_word(tmp_path: Path) -> None:
    """What was left is there until somebody takes the lock again; then it is held by nobody's words."""
    path = tmp_path / "a.lock"
    lock = Lock(path)
    assert lock.acquire()
    assert read_completed(path) == []
    lock.release(["one", "two"])
    assert (read_completed(path), holder(path)) == (["one", "two"], 0)
    assert lock.acquire()
    assert (read_completed(path), holder(path)) == ([], os.getpid())
    lock.release()
    assert (read_completed(path), read_completed(tmp_path / "none")) == ([], [])
