"""Which processes of a run are still running, and the status of those that ended without recording one.

Used by the agent, couriers and `tracelet sync`. A process has ended when its journal is sealed or has a final status,
when it no longer exists on this host, or when it has been silent on another host for a while. Only reads; the agent
writes the records that `unreported` returns.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tracelet.agent.process.exit_cause import ExitWatcher
from tracelet.backends.base import Outcome
from tracelet.errors import JournalError
from tracelet.journal.frames import Cursor
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.records import KILLED, KIND_OF, RUNNING, Started, Status
from tracelet.journal.run_folder import SUFFIX
from tracelet.store.pids import is_alive
from tracelet.store.process_status import NO_EXIT_RECORD, SILENCE_TIMEOUT, ProcessStatus, killed_reason
from tracelet.store.run_status import combined_status


@dataclass
class WatchedProcess:
    """One process of the run, according to its journal."""

    path: Path
    started: Started | None = None
    status: Status | None = None
    """The last status that it recorded itself."""
    ended: bool = False
    cursor: Cursor = Cursor()
    seen: tuple[int, int] = (0, 0)
    exit_watcher: ExitWatcher | None = None
    _perhaps_unreachable: bool = False

    def update(self, host: str, watch_exits: bool = False) -> None:
        """Read new records and check the process; `watch_exits`: also watch for the cause of its end."""
        if self.ended and not self._perhaps_unreachable:
            return
        if self.started is None:
            self._read()
        alive = self._alive(host)  # checked first: what it wrote before it ended is read below
        if watch_exits and alive and self.started is not None and self.started.host == host:
            self.exit_watcher = self.exit_watcher or ExitWatcher(self.started.pid, self.started.process_started)
            self.exit_watcher.update()
        with suppress(OSError, JournalError):  # deleted or unreadable: then only the process itself can show it
            self._read()
        self.ended = self.started is not None and (self.has_final_status or not alive)
        # A silent process on another host may only have been out of reach.
        self._perhaps_unreachable = (
            self.ended and not self.has_final_status and self.started is not None and self.started.host != host
        )
        if self.has_final_status and self.exit_watcher is not None:
            self.exit_watcher.close()

    @property
    def has_final_status(self) -> bool:
        """Whether it has recorded its final status, which is its last record."""
        return self.status is not None and self.status.status != RUNNING

    def _alive(self, host: str) -> bool:
        if self.started is None:
            return True
        if self.started.host == host:
            return is_alive(self.started.pid, self.started.process_started)
        try:
            return time.time() - self.path.stat().st_mtime < SILENCE_TIMEOUT
        except OSError:
            return False

    def _read(self) -> None:
        here = self.path.stat()
        if (here.st_size, here.st_mtime_ns) == self.seen:
            return
        self.seen = (here.st_size, here.st_mtime_ns)
        reader = JournalReader(self.path)
        footer = reader.footer()
        if footer is not None:
            self.started, self.status = footer.started, footer.status
            return
        for frame in reader.frames(self.cursor):
            self.cursor = frame.after
            if frame.kind in (KIND_OF[Started], KIND_OF[Status]):
                with suppress(JournalError):  # a damaged record has no content; the next one may
                    record = frame.record()
                    if isinstance(record, Started):
                        self.started = record
                    elif isinstance(record, Status) and not record.about:
                        self.status = record

    def inferred_status(self) -> Status:
        """The final status of a process that ended without recording one."""
        last = self.status
        when = int(time.time() * 1e6)
        if last is not None and last.expected:
            return Status(time=when, status=last.expected, reason=last.reason, about=self.path.name)
        if self.exit_watcher is not None:
            status, reason = self.exit_watcher.status_and_reason()
        else:
            status, reason = KILLED, killed_reason(self.started) if self.started is not None else NO_EXIT_RECORD
        return Status(time=when, status=status, reason=reason, about=self.path.name)


class ProcessWatch:
    """The processes of one run. Used on one thread."""

    def __init__(self, folder: Path, watch_exits: bool = False) -> None:
        self.folder = folder
        self._watch_exits = watch_exits
        self.host = socket.gethostname()
        self._processes: dict[str, WatchedProcess] = {}

    def update(self) -> None:
        """Read changes."""
        for path in self.folder.glob("*" + SUFFIX):
            self._processes.setdefault(path.name, WatchedProcess(path))
        for member in self._processes.values():
            with suppress(OSError, JournalError):  # unreadable for now, or for good: the run's reader reports it
                member.update(self.host, self._watch_exits)

    def ranks(self) -> list[WatchedProcess]:
        """The training processes."""
        return self._with_role("rank")

    def _with_role(self, role: str) -> list[WatchedProcess]:
        return [m for m in self._processes.values() if m.started is not None and m.started.role == role]

    def ranks_missing(self) -> bool:
        """Whether the run has ranks without a journal here."""
        told = [member.started for member in self._with_role("rank") if member.started is not None]
        world = max((started.world_size for started in told), default=1)
        return not set(range(world)) <= {started.rank for started in told}

    def ended(self, here: bool = False) -> bool:
        """Whether all training processes (of this host only, if `here`) have ended."""
        ranks = self._with_role("rank")
        return all(m.ended for m in ranks if not here or (m.started is not None and m.started.host == self.host))

    def complete(self) -> bool:
        """Whether nothing more will be written to any journal."""
        return all(member.ended for member in self._processes.values() if member.started is not None)

    def unreported(self) -> Iterator[Status]:
        """The final status of each ended process of this host that has none in its journal."""
        for member in self._with_role("rank"):
            silent = member.status is None or member.status.status == RUNNING
            mine = member.started is not None and member.started.host == self.host
            if member.ended and silent and mine and self._status_from_agents(member.path.name) is None:
                yield member.inferred_status()

    def sealed_on_this_host(self) -> list[Path]:
        """The journals of this host's processes that have recorded their final status."""
        mine = [m for m in self._processes.values() if m.started is not None and m.started.host == self.host]
        return [m.path for m in mine if m.ended and m.status is not None and m.path.exists()]

    def ended_on_this_host(self) -> list[str]:
        """The journals of this host's training processes that were seen to have ended."""
        mine = [m for m in self.ranks() if m.started is not None and m.started.host == self.host]
        return [member.path.name for member in mine if member.ended]

    def outcome(self) -> Outcome:
        """The run's outcome according to its leading process and the agents."""
        ranks = self._with_role("rank")
        found = [
            ProcessStatus(member.started, self._final_status(member)) for member in ranks if member.started is not None
        ]
        if not found:
            return Outcome(KILLED, NO_EXIT_RECORD, time.time())
        status = combined_status(found)
        return Outcome(status.status, status.reason, status.time / 1e6)

    def _final_status(self, member: WatchedProcess) -> Status:
        if member.status is not None and member.status.status != RUNNING:
            return member.status
        return self._status_from_agents(member.path.name) or member.inferred_status()

    def _status_from_agents(self, name: str) -> Status | None:
        for member in self._with_role("node"):
            for frame in JournalReader(member.path).frames():
                if frame.kind == KIND_OF[Status]:
                    with suppress(JournalError):  # damaged: treat as not written
                        record = frame.record()
                        if isinstance(record, Status) and record.about == name:
                            return record
        return None
