"""The agent: accompanies the training of one run on one host, and outlives it until everything is told and delivered.

The main thread of its own process, started by `keeper` and detached from the training's terminal, group and parent.
It samples the machine, watches the training processes, writes how they ended where they could not, and has couriers
deliver. It reads the journals that the training writes, writes only its own, and is never needed for correctness.
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
from typing import BinaryIO

import msgspec

from tracelet._version import __version__
from tracelet.agent.delivery.courier_pool import Crew
from tracelet.agent.nodes.node_link import Exchange
from tracelet.agent.process.agent_log import AgentLog
from tracelet.agent.process.configuration import LOG, Order
from tracelet.agent.process.locks import Lock, backend_line, lock_path
from tracelet.agent.process.process_watch import Watch
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
from tracelet.store.process_liveness import process_start

POLL = 1.0
"""Seconds between two looks at the training processes: their end is to be noticed in less than five."""
TAKEOVER = 5.0
"""Seconds to wait for an agent that is about to leave; one that stays takes care of our training as well."""
BRIEFLY = 0.2
"""Seconds between two looks whether the other nodes are done."""
GRACE = 20.0
"""Seconds that the training gets to end after a SIGTERM; a cluster kills for good after 30."""
NOT_FOR_US = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
"""Meant for the program: by its terminal, or by a cluster, which signals all processes of a job."""
HASTE = 5.0
"""Seconds for delivering the rest after a SIGTERM."""


class Agent:
    """One run's agent on this host."""

    def __init__(self, folder: Path, order: Order, orders: BinaryIO) -> None:
        self.folder = folder
        self.order = order
        self.log = AgentLog(folder / LOG, Redactor(*(posting.options for posting in order.backends)))
        self.watch = Watch(folder, witnessing=True)
        self.exchange = Exchange(folder, self.log.say)
        self.crew = Crew(folder, self.log.say, rank_deadline=order.rank_deadline, awaits=self.exchange.awaits)
        self.quitting = threading.Event()
        self._orders = orders
        self._changed = threading.Event()
        self._quit_at = 0.0
        self._waited_for: tuple[str, ...] = ()

    def run(self) -> None:
        """From the first look at the training to the end of delivery."""
        self.log.start()
        self.log.say(f"tracelet {__version__}, agent {os.getpid()} of {self.folder.name}")
        threading.Thread(target=self._listen, name="tracelet-agent-orders", daemon=True).start()
        self.exchange.obey(self.order)
        self.crew.hire(self.order.backends)
        while True:
            with guard("accompanying the training"):
                self._accompany()
            self.crew.nudge()
            self.exchange.ending()
            if self._all_delivered():
                break
            self.exchange.begin()
            self.crew.hire(self.order.backends, again=True)
        self.crew.dismiss()
        self.exchange.stop()
        self._tidy()
        self._figure_out()
        self.log.say("the end")
        self.log.stop()

    def _all_delivered(self) -> bool:
        """Like `_delivered`, also for couriers whose order came while we waited for the others."""
        while True:
            self._waited_for = tuple(self.crew.couriers)
            found = self._delivered()
            if not found or self._waited_for == tuple(self.crew.couriers):
                return found

    def last_words(self) -> list[str]:
        """What it has seen to the end: trainings, and the deliveries that it knew of."""
        return [*self.watch.ended_here(), *map(backend_line, self._waited_for)]

    def _tidy(self) -> None:
        """Make long journals small, which the training had no time for."""
        for path in self.watch.sealed_here():
            if not self._quit_at:
                with guard(f"compacting {path.name}"):
                    compact(path)

    def _figure_out(self) -> None:
        """Tell lists what the metrics of all ranks come to."""
        with guard("working out the figures of the run"):
            from tracelet.store import exact_summaries  # the reading side is not loaded while the training goes on
            from tracelet.store.run import Run

            exact_summaries.write_summaries(Run(self.folder), give_up=lambda: bool(self._quit_at))

    def quit(self, *_: object) -> None:
        """On SIGTERM: finish soon."""
        self._quit_at = time.monotonic() + GRACE
        self.order.linger = min(self.order.linger, HASTE)
        self._changed.set()

    def _listen(self) -> None:
        for line in self._orders:
            with guard("reading an order"):
                order = msgspec.json.decode(line, type=Order)
                self.exchange.obey(order)
                self.crew.hire(order.backends)
        self._changed.set()  # the training has let go of the pipe: probably it has ended

    def _accompany(self) -> None:
        """Sample the machine until all training processes of this host have ended, and say how they did."""
        self.watch.look()
        ended = self.watch.ended(here=True)
        if ended and not any(self.watch.unsaid()):
            return
        writer, scheduler = self._recorder()
        if not ended:
            scheduler.start()
            self._wait_for_the_end()
            scheduler.stop()
        for status in self.watch.unsaid():
            self.log.say(f"{status.about}: {status.status}, {status.reason}")
            writer.emit(status)
        writer.close(Status(time=now(), status=FINISHED))

    def _wait_for_the_end(self) -> None:
        while not self.watch.ended(here=True) and self.folder.exists():
            if self._quit_at and time.monotonic() > self._quit_at:
                break
            self._changed.wait(POLL)
            self._changed.clear()
            self.watch.look()
            self.exchange.look(self.watch.missing())
            self.crew.inspect()

    def _recorder(self) -> tuple[Writer, Scheduler]:
        training = first_record(self.folder / self.order.journal)
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
        for reference in self.order.collectors:
            with guard(f"loading {reference}"):
                collectors.append(resolve_name(reference)(self.order.pid))
        return writer, Scheduler(collectors, writer.emit, self.order.interval)

    def _busy(self) -> bool:
        self.exchange.look(self.watch.missing())
        if not self.crew.busy and self.exchange.busy:
            time.sleep(BRIEFLY)
        return self.crew.busy or self.exchange.busy

    def _delivered(self) -> bool:
        """Wait for the couriers within the limit. False when another training has begun here meanwhile."""
        deadline = time.monotonic() + self.order.linger
        while self._busy() and time.monotonic() < deadline and self.folder.exists():
            self.crew.wait(time.monotonic() + POLL)
            self.crew.inspect()
            self.watch.look()
            if not self.watch.ended(here=True) and not self._quit_at:
                return False
            if self._quit_at:
                deadline = min(deadline, time.monotonic() + HASTE)
        return True


def main(folder: Path, orders: BinaryIO) -> None:
    """Be the agent of the run in `folder`, unless this host has one already."""
    for number in NOT_FOR_US:
        signal.signal(number, signal.SIG_IGN)
    line = orders.readline()
    if not line:
        return  # the training ended before it could say what it wants
    order = msgspec.json.decode(line, type=Order)
    sys.path += [entry for entry in map(os.fsdecode, order.path) if entry not in sys.path]
    lock = Lock(lock_path(folder))
    if lock.acquire(TAKEOVER):
        agent = Agent(folder, order, orders)
        signal.signal(signal.SIGTERM, agent.quit)
        agent.run()
        lock.release(agent.last_words())
