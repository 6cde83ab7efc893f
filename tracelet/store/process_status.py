"""The status of a process: recorded by itself, recorded by an agent, or inferred by the reader. Used by `Run`.

Reads only. A process of this host is looked up; on another host it counts as ended after a silence.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tracelet.journal.journal_view import JournalView
from tracelet.journal.records import KILLED, RUNNING, Started, Status
from tracelet.store.pids import is_alive

SILENCE_TIMEOUT = 60.0
"""Seconds without a heartbeat after which a process on another host counts as ended; it sends one every 10."""
NO_EXIT_RECORD = "the process disappeared without reporting an exit"


class ProcessStatus(NamedTuple):
    """One process of a run, and its status."""

    started: Started
    status: Status


def process_status(view: JournalView, nodes: Iterable[JournalView]) -> Status:
    """The status of a training process; `nodes` are the journals of the agents of its run."""
    if view.status is not None and view.status.status != RUNNING:
        return view.status
    started, seen = view.started, modified_at(view.path)
    assert started is not None  # asked only of journals that have one
    here = started.host == socket.gethostname()
    if is_alive(started.pid, started.process_started) if here else time.time() - seen / 1e6 < SILENCE_TIMEOUT:
        return Status(time=int(time.time() * 1e6), status=RUNNING)
    for node in nodes:
        for seen_by_agent in node.records(Status):
            if seen_by_agent.about == view.path.name:
                return seen_by_agent
    if view.status is not None and view.status.expected:
        return Status(time=seen, status=view.status.expected, reason=view.status.reason)
    return Status(time=seen, status=KILLED, reason=killed_reason(started))


def statuses_by_number(views: Sequence[JournalView]) -> dict[int, ProcessStatus]:
    """The training processes of a run and their statuses, by their number in `Run.spans().processes`."""
    nodes = [view for view in views if view.started and view.started.role == "node"]
    return {
        number: ProcessStatus(view.started, process_status(view, nodes))
        for number, view in enumerate(views)
        if view.started is not None and view.started.role == "rank"
    }


def killed_reason(started: Started) -> str:
    """The reason for the status killed if nothing else is known."""
    return NO_EXIT_RECORD if started.host == socket.gethostname() else f"no heartbeat from {started.host}"


def modified_at(path: Path) -> int:
    """The file's modification time, in microseconds since the epoch; 0 if it does not exist."""
    try:
        return int(path.stat().st_mtime * 1e6)
    except OSError:
        return 0
