"""The agent: runs beside the training of one run on one host until everything is recorded and delivered.

Runs on the main thread of its own process, which `supervisor` starts detached from the training's terminal, process
group and parent. It samples the machine, watches the training processes, records their status if they ended without
recording it, and starts the couriers. It reads the training's journals and writes only its own; no other part depends
on it for correctness.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from tracelet._version import __version__
from tracelet.agent.delivery.courier_pool import CourierPool
from tracelet.agent.nodes.node_link import NodeLink
from tracelet.agent.process.agent_log import AgentLog
from tracelet.agent.process.configuration import LOG, AgentConfig
from tracelet.agent.process.locks import Lock, backend_entry, lock_path
from tracelet.agent.process.process_watch import ProcessWatch
from tracelet.capture.clock import now
from tracelet.capture.writer import Writer
from tracelet.collectors.scheduler import Scheduler
from tracelet.guard import guard
from tracelet.journal.compaction import compact
from tracelet.journal.journal_reader import first_record
from tracelet.journal.records import FINISHED, Started, Status
from tracelet.journal.run_folder import create_journal
from tracelet.redaction.known_secrets import redact
from tracelet.redaction.redactor import Redactor
from tracelet.store.pids import process_start

if TYPE_CHECKING:
    from tracelet.agent.alerts.alert_watch import AlertWatch

POLL = 1.0
"""Seconds between two checks of the training processes: their end must be noticed in less than five."""
LOCK_TIMEOUT = 5.0
"""Seconds to wait for an agent that is about to exit; one that stays handles our training as well."""
NODES_POLL = 0.2
"""Seconds between two checks whether the other nodes are done."""
SIGTERM_GRACE = 20.0
"""Seconds for the training to end after a SIGTERM; a cluster sends SIGKILL after 30."""
IGNORED_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
"""Signals meant for the program: from its terminal, or from a cluster, which signals all processes of a job."""
SIGTERM_DELIVERY_TIMEOUT = 5.0
"""Seconds for delivering the rest after a SIGTERM."""


class Agent:
    """One run's agent on this host."""

    def __init__(self, folder: Path, config: AgentConfig, config_stream: BinaryIO) -> None:
        self.folder = folder
        self.config = config
        self.log = AgentLog(folder / LOG, Redactor(*(config.options for config in config.backends)))
        self.watch = ProcessWatch(folder, watch_exits=True)
        self.node_link = NodeLink(folder, self.log.write)
        self.courier_pool = CourierPool(
            folder, self.log.write, rank_deadline=config.rank_deadline, expects_more=self.node_link.expects_more
        )
        self.alerts = self._make_alerts()
        self._config_stream = config_stream
        self._changed = threading.Event()
        self._quit_at = 0.0
        self._awaited_backends: tuple[str, ...] = ()

    def run(self) -> None:
        """From the first check of the training to the end of delivery."""
        self.log.start()
        self.log.write(f"tracelet {__version__}, agent {os.getpid()} of {self.folder.name}")
        threading.Thread(target=self._read_config_updates, name="tracelet-agent-config", daemon=True).start()
        self.node_link.apply(self.config)
        self.courier_pool.start(self.config.backends)
        if self.alerts is not None:
            self.alerts.start()
        while True:
            with guard("accompanying the training"):
                self._monitor_training()
            self.courier_pool.wake()
            self.node_link.training_ended()
            self._report_end()
            if self._wait_for_all_deliveries():
                break
            self.node_link.training_started()
            if self.alerts is not None:
                self.alerts.training_started()
            self.courier_pool.start(self.config.backends, restart=True)
        self.courier_pool.stop()
        self.node_link.stop()
        if self.alerts is not None:
            self.alerts.stop()
        self._compact_journals()
        self._write_summary()
        self.log.write("the end")
        self.log.stop()

    def _make_alerts(self) -> AlertWatch | None:
        """What sends alerts, if there are addresses."""
        with guard("preparing alerts"):
            if self.config.alerts:
                training = first_record(self.folder / self.config.journal)
                from tracelet.agent.alerts.alert_watch import AlertWatch  # apprise takes memory; few runs need it

                name = training.name if training else self.folder.name
                return AlertWatch(self.folder, self.config.alerts, self.config.alert_rules, name, self.log.write)
        return None

    def _report_end(self) -> None:
        if self.alerts is not None:
            with guard("reporting the end of the run"):
                outcome = self.watch.outcome()
                self.alerts.training_ended(outcome.status, outcome.reason, outcome.ended)

    def _wait_for_all_deliveries(self) -> bool:
        """Like `_wait_for_delivery`, and also for couriers whose configuration came during the wait."""
        while True:
            self._awaited_backends = tuple(self.courier_pool.couriers)
            found = self._wait_for_delivery()
            if not found or self._awaited_backends == tuple(self.courier_pool.couriers):
                return found

    def completed(self) -> list[str]:
        """What it has completed: trainings, and the deliveries that it was configured for."""
        return [*self.watch.ended_on_this_host(), *map(backend_entry, self._awaited_backends)]

    def _compact_journals(self) -> None:
        """Compact long journals, for which the training had no time."""
        for path in self.watch.sealed_on_this_host():
            if not self._quit_at:
                with guard(f"compacting {path.name}"):
                    compact(path)

    def _write_summary(self) -> None:
        """Write the summary of all ranks' metrics, for lists of runs."""
        with guard("computing the summary of the run"):
            from tracelet.store import exact_summaries  # the reading side is not imported during the training
            from tracelet.store.run import Run

            exact_summaries.write_summaries(Run(self.folder), give_up=lambda: bool(self._quit_at))

    def quit(self, *_: object) -> None:
        """On SIGTERM: finish soon."""
        self._quit_at = time.monotonic() + SIGTERM_GRACE
        self.config.linger = min(self.config.linger, SIGTERM_DELIVERY_TIMEOUT)
        self._changed.set()

    def _read_config_updates(self) -> None:
        for line in self._config_stream:
            with guard("reading an order"):
                config = msgspec.json.decode(line, type=AgentConfig)
                self.node_link.apply(config)
                self.courier_pool.start(config.backends)
        self._changed.set()  # the training has closed the pipe: it has probably ended

    def _monitor_training(self) -> None:
        """Sample the machine until all training processes of this host have ended, and record their status if they have
        not.
        """
        self.watch.update()
        ended = self.watch.ended(here=True)
        if ended and not any(self.watch.unreported()):
            return
        writer, scheduler = self._make_recorder()
        if not ended:
            scheduler.start()
            self._wait_for_training()
            scheduler.stop()
        for status in self.watch.unreported():
            self.log.write(f"{status.about}: {status.status}, {status.reason}")
            writer.emit(status)
        writer.close(Status(time=now(), status=FINISHED))

    def _wait_for_training(self) -> None:
        while not self.watch.ended(here=True) and self.folder.exists():
            if self._quit_at and time.monotonic() > self._quit_at:
                break
            self._changed.wait(POLL)
            self._changed.clear()
            self.watch.update()
            self.node_link.update(self.watch.ranks_missing())
            self.courier_pool.report_overdue()

    def _make_recorder(self) -> tuple[Writer, Scheduler]:
        training = first_record(self.folder / self.config.journal)
        host = socket.gethostname()
        journal, attempt = create_journal(self.folder, f"node-{host}", redact)
        started = Started(
            run=self.folder.name, name=training.name if training else "", project=training.project if training else "",
            time=now(), host=host, pid=os.getpid(), process_started=process_start(os.getpid()), role="node",
            rank=training.rank if training else 0, node_rank=training.node_rank if training else 0, attempt=attempt,
            world_size=training.world_size if training else 1, version=__version__,
        )  # fmt: skip
        writer = Writer(journal, started)
        writer.start()
        collectors = []
        for reference in self.config.collectors:
            with guard(f"loading {reference}"):
                collectors.append(resolve_name(reference)(self.config.pid))
        return writer, Scheduler(collectors, writer.emit, self.config.interval)

    def _is_busy(self) -> bool:
        self.node_link.update(self.watch.ranks_missing())
        others = self.node_link.busy or (self.alerts is not None and self.alerts.busy)
        if not self.courier_pool.busy and others:
            time.sleep(NODES_POLL)
        return self.courier_pool.busy or others

    def _wait_for_delivery(self) -> bool:
        """Wait for the couriers within the limit. False if another training has begun here in the meantime."""
        deadline = time.monotonic() + self.config.linger
        while self._is_busy() and time.monotonic() < deadline and self.folder.exists():
            self.courier_pool.wait(time.monotonic() + POLL)
            self.courier_pool.report_overdue()
            self.watch.update()
            if not self.watch.ended(here=True) and not self._quit_at:
                return False
            if self._quit_at:
                deadline = min(deadline, time.monotonic() + SIGTERM_DELIVERY_TIMEOUT)
        return True


def main(folder: Path, config_stream: BinaryIO) -> None:
    """Be the agent of the run in `folder`, unless this host already has one."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    line = config_stream.readline()
    if not line:
        return  # the training ended before it could send its configuration
    config = msgspec.json.decode(line, type=AgentConfig)
    sys.path += [entry for entry in map(os.fsdecode, config.path) if entry not in sys.path]
    lock = Lock(lock_path(folder))
    if lock.acquire(LOCK_TIMEOUT):
        agent = Agent(folder, config, config_stream)
        signal.signal(signal.SIGTERM, agent.quit)
        agent.run()
        lock.release(agent.completed())
