"""Which processes of a run are still running, and how those ended that recorded no final status.

Used by the agent, couriers and `tracelet sync`. A process has ended when its journal is sealed or has a final status,
when it is gone from this host, or when it has been silent on another host for a while. Only reads; the agent writes the
records that `unreported` returns.
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
from tracelet.store.process_status import NO_EXIT_RECORD, SILENCE_TIMEOUT, killed_reason
from tracelet.store.run_status import ProcessStatus, combined_status


@dataclass
class WatchedProcess:
    """One process of the run, as its journal shows it."""

    path: Path
    started: Started | None = None
    status: Status | None = None
    """The last that was said of it, by itself."""
    ended: bool = False
    cursor: Cursor = Cursor()
    seen: tuple[int, int] = (0, 0)
    exit_watcher: ExitWatcher | None = None
    _perhaps_unreachable: bool = False

    def update(self, host: str, watch_exits: bool = False) -> None:
        """Read what is new and ask after the process; `watch_exits`: be able to tell what ended it."""
        if self.ended and not self._perhaps_unreachable:
            return
        if self.started is None:
            self._read()
        alive = self._alive(host)  # asked first: what it wrote before it ended is read below
        if watch_exits and alive and self.started is not None and self.started.host == host:
            self.exit_watcher = self.exit_watcher or ExitWatcher(self.started.pid, self.started.process_started)
            self.exit_watcher.update()
        with suppress(OSError, JournalError):  # deleted or unreadable: then only the process itself can tell
            self._read()
        self.ended = self.started is not None and (self.has_final_status or not alive)
        # A process on another host that fell silent may only have been out of reach.
        self._perhaps_unreachable = (
            self.ended and not self.has_final_status and self.started is not None and self.started.host != host
        )
        if self.has_final_status and self.exit_watcher is not None:
            self.exit_watcher.close()

    @property
    def has_final_status(self) -> bool:
        """Whether it has told its end, which is the last that it writes."""
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
                with suppress(JournalError):  # a damaged record says nothing; the next one may
                    record = frame.record()
                    if isinstance(record, Started):
                        self.started = record
                    elif isinstance(record, Status) and not record.about:
                        self.status = record

    def inferred_status(self) -> Status:
        """The final status of a process that is gone without a word."""
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
        """Take in what has changed."""
        for path in self.folder.glob("*" + SUFFIX):
            self._processes.setdefault(path.name, WatchedProcess(path))
        for member in self._processes.values():
            with suppress(OSError, JournalError):  # unreadable for now, or for good: the reader of the run says so
                member.update(self.host, self._watch_exits)

    def ranks(self) -> list[WatchedProcess]:
        """The training processes."""
        return self._with_role("rank")

    def _with_role(self, role: str) -> list[WatchedProcess]:
        return [m for m in self._processes.values() if m.started is not None and m.started.role == role]

    def ranks_missing(self) -> bool:
        """Whether there are ranks of the run of which no journal is here."""
        told = [member.started for member in self._with_role("rank") if member.started is not None]
        world = max((started.world_size for started in told), default=1)
        return not set(range(world)) <= {started.rank for started in told}

    def ended(self, here: bool = False) -> bool:
        """Whether all training processes (of this host only, if `here`) have ended."""
        ranks = self._with_role("rank")
        return all(m.ended for m in ranks if not here or (m.started is not None and m.started.host == self.host))

    def complete(self) -> bool:
        """Whether nothing will be written to any journal any more."""
        return all(member.ended for member in self._processes.values() if member.started is not None)

    def unreported(self) -> Iterator[Status]:
        """The final status of each process of this host that is gone and of which none has been written."""
        for member in self._with_role("rank"):
            silent = member.status is None or member.status.status == RUNNING
            mine = member.started is not None and member.started.host == self.host
            if member.ended and silent and mine and self._status_from_agents(member.path.name) is None:
                yield member.inferred_status()

    def sealed_on_this_host(self) -> list[Path]:
        """The journals of this host's processes that have said how they ended."""
        mine = [m for m in self._processes.values() if m.started is not None and m.started.host == self.host]
        return [m.path for m in mine if m.ended and m.status is not None and m.path.exists()]

    def ended_on_this_host(self) -> list[str]:
        """The journals of this host's training processes that were seen to have ended."""
        mine = [m for m in self.ranks() if m.started is not None and m.started.host == self.host]
        return [member.path.name for member in mine if member.ended]

    def outcome(self) -> Outcome:
        """How the run ended, as its leading process and the agents saw it."""
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
                    with suppress(JournalError):  # damaged: as good as not written
                        record = frame.record()
                        if isinstance(record, Status) and record.about == name:
                            return record
        return None
