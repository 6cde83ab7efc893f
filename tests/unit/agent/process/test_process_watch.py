"""Which processes of a run have ended, and how."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tracelet.agent.process.process_watch import ProcessWatch
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Record, Started, Status
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact
from tracelet.store.pids import process_start
from tracelet.store.process_status import SILENCE_TIMEOUT


def started(pid: int, **fields: Any) -> Started:
    known = {"run": "r", "name": "n", "project": "p", "time": 1, "host": socket.gethostname(), "pid": pid}
    return Started(**{**known, "process_started": process_start(pid), **fields})


def journal(folder: Path, stem: str, *records: Record) -> Path:
    path = journal_path(folder, stem, 0)
    made = JournalWriter.create(path, redact)
    made.append(records)
    made.close()
    return path


def gone() -> Started:
    """What a process said that has ended since."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        return started(process.pid)


def update(folder: Path) -> ProcessWatch:
    watch = ProcessWatch(folder)
    watch.update()
    return watch


def test_a_process_that_lives_has_not_ended(tmp_path: Path) -> None:
    """Nothing is said of it; when its journal says how it ended, it has, though the process goes on."""
    path = journal(tmp_path, "rank-0", started(os.getpid()), Status(time=2, status="running", expected="preempted"))
    watch = update(tmp_path)
    assert not watch.ended()
    assert not watch.complete()
    assert list(watch.unreported()) == []
    made = JournalWriter(path, redact, os.open(path, os.O_RDWR), size=path.stat().st_size, number=2)
    made.append([Status(time=3_000_000, status="failed", reason="why")])
    made.close()
    watch.update()
    assert watch.ended()
    assert watch.complete()
    assert list(watch.unreported()) == []
    assert watch.sealed_on_this_host() == [path]
    assert (watch.outcome().status, watch.outcome().reason, watch.outcome().ended) == ("failed", "why", 3.0)


def test_a_process_that_is_gone_was_killed(tmp_path: Path) -> None:
    """Its final status is the agent's to write, once."""
    path = journal(tmp_path, "rank-0", gone())
    watch = update(tmp_path)
    assert watch.ended()
    (status,) = watch.unreported()
    assert (status.status, status.about) == ("killed", path.name)
    journal(tmp_path, "node-x", started(os.getpid(), role="node"), status)
    watch.update()
    assert list(watch.unreported()) == []
    assert watch.outcome().status == "killed"
    assert not watch.complete(), "the agent still writes"


def test_what_it_expected_is_how_it_ended(tmp_path: Path) -> None:
    """A process that had been told to end, and was killed then, ended as it expected."""
    journal(tmp_path, "rank-0", gone(), Status(time=2, status="running", expected="preempted", reason="SIGTERM"))
    (status,) = update(tmp_path).unreported()
    assert (status.status, status.reason) == ("preempted", "SIGTERM")


def test_another_host_is_believed_until_it_is_silent(tmp_path: Path) -> None:
    """Its journal's age decides; its end is not ours to write."""
    path = journal(tmp_path, "rank-0", started(1, host="elsewhere"))
    watch = update(tmp_path)
    assert not watch.ended()
    assert watch.ended(here=True)
    old = path.stat().st_mtime - SILENCE_TIMEOUT - 5
    os.utime(path, (old, old))
    watch.update()
    assert watch.ended()
    assert list(watch.unreported()) == []
    assert (watch.outcome().status, watch.outcome().reason) == ("killed", "no heartbeat from elsewhere")


def test_a_deleted_run_ends_with_its_process(tmp_path: Path) -> None:
    """Nobody waits for ever for a journal that is not there any more."""
    path = journal(tmp_path, "rank-0", gone())
    watch = ProcessWatch(tmp_path)
    watch.update()
    path.unlink()
    watch.update()
    assert watch.ended()


def test_the_leading_process_decides(tmp_path: Path) -> None:
    """Rank 0 was interrupted before rank 1 failed: the run's outcome is rank 0's."""
    journal(tmp_path, "rank-1", started(os.getpid(), rank=1), Status(time=2, status="failed"))
    journal(tmp_path, "rank-0", started(os.getpid()), Status(time=1, status="interrupted"))
    assert update(tmp_path).outcome().status == "interrupted"
