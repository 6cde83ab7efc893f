"""Delivers one run to one backend: a thread that reads batches, hands them over, and moves its cursor afterwards.

Runs in the agent, in the training process with `delivery="inline"`, and in `tracelet sync`. It alone calls the
backend. It holds one batch in memory, waits with backoff and jitter while the backend does not answer, and delays
nobody: the thread is a daemon, so a call that never returns cannot hold the end of its process.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tracelet.agent.delivery import backend_loading
from tracelet.agent.delivery.backend_calls import BackendCalls, unexplained, unknown
from tracelet.agent.delivery.batch_reader import Feed, Portion
from tracelet.agent.delivery.courier_state import Progress
from tracelet.agent.delivery.file_delivery import PATIENCE, FileDelivery
from tracelet.agent.delivery.isolation import Isolation, Letter
from tracelet.agent.delivery.rank_aggregation import Gatherer
from tracelet.agent.delivery.run_description import describe
from tracelet.agent.process.configuration import Posting
from tracelet.agent.process.locks import Lock
from tracelet.agent.process.process_watch import Watch
from tracelet.backends.base import Backend, Batch
from tracelet.backends.refusals import first_line
from tracelet.errors import Misconfigured, Rejected, Unavailable
from tracelet.redaction.redactor import Redactor
from tracelet.store import delivery_state
from tracelet.store.delivery_state import Delivery

POLL = 0.5
"""Seconds between two looks for something new; the training flushes about as often."""
MOST_ROUNDS = 10
"""How often a batch is taken apart of which nothing at all is taken; then it is set aside like any other."""
OVERDUE = 60.0
"""Seconds after which a call that has not returned is reported."""


class Courier(threading.Thread):
    """One backend's deliverer. `start()` it, `nudge()` it when something has changed, `cease()` to have it stop soon.

    With `follow` it stays until the run has ended; without, until it has delivered what is there.
    """

    def __init__(
        self,
        folder: Path,
        posting: Posting,
        log: Callable[[str], None],
        follow: bool = True,
        gatherer: Gatherer | None = None,
    ) -> None:
        name, options = posting.name, posting.options
        super().__init__(name=f"tracelet-courier-{name}", daemon=True)
        self.backend = name
        self.folder = folder
        self.progress = Progress(folder, name, Redactor(options), log)
        self.lock = Lock(folder / delivery_state.FOLDER / f"{name}.lock")
        self._reference = posting.reference
        self._options = options
        self._follow = follow
        self._feed = Feed(folder)
        self._gatherer = gatherer or Gatherer(folder)
        self._watch = Watch(folder)
        self._ceasing = threading.Event()
        self._calls = BackendCalls(self.progress, self._ceasing)
        self._rounds = 0
        self._backend: Backend | None = None
        self._files = FileDelivery(folder, self.progress, self._calls.attempt, self._calls.jitter)

    def nudge(self) -> None:
        """Look, or try again, now."""
        self._files.hurry()
        self._calls.nudge()

    def cease(self) -> None:
        """Stop after the call that is being made; what is left stays for another time."""
        self._ceasing.set()
        self._calls.nudge()

    def waited(self) -> float:
        """Seconds since the call that is being made began."""
        return self._calls.waited()

    def overdue(self) -> bool:
        """Whether the backend has been called and has not returned for long."""
        return self.waited() > OVERDUE

    def run(self) -> None:
        """Deliver everything. The one place where anything that an SDK raises is caught."""
        try:
            if self._hold():
                self.progress.take_up()
                self._deliver()
        except Misconfigured as error:
            self._give_up(error.why, error.fix)
        except Unavailable:
            return  # told to cease while it was waiting; the state says offline already
        except Exception as error:
            self._give_up(*unexplained(error))
        finally:
            self._let_go()

    def _hold(self) -> bool:
        while not self.lock.acquire():
            if self._ceasing.is_set():
                return False
            self._calls.pause(POLL)  # `tracelet sync` delivers this run just now
        return True

    def _give_up(self, why: str, fix: str) -> None:
        try:
            self.progress.misconfigured(why, fix)
        except OSError as error:
            self.progress.say(f"stopped: {why}; the state cannot be saved to disk ({error})")

    def _let_go(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            try:
                backend.close(None)
            except Exception as error:
                self.progress.say(f"closing failed ({type(error).__name__}: {error})")
        self.lock.release()

    def _deliver(self) -> None:
        self._wait_for_the_run()
        while not (self._deliver_values() or self._ceasing.is_set()):
            self._calls.pause(self._files.wait() + POLL)  # all but files is delivered; these are tried again

    def _deliver_values(self) -> bool:
        """Open the backend and deliver until nothing is to come; whether files are delivered as well."""
        backend = self._open()
        again = True
        while not self._ceasing.is_set():
            self._watch.look()
            complete = self._watch.complete()  # asked first: what is read after it is all there will ever be
            complete = self._gatherer.gather() and complete
            portion = self._next()
            if portion is not None:
                again = self._hand_over(backend, portion, again)
            moved = self._files.step()
            if portion is not None or moved:
                continue
            if complete:
                return self._close(backend)
            if not (self._follow or self._files.left()):
                return True
            self._calls.pause(POLL)
        return True

    def _open(self) -> Backend:
        progress = self.progress
        progress.opening()
        self._backend = backend = backend_loading.make(self.backend, self._reference, self._options)
        self._feed.every_rank = getattr(backend, "every_rank", False)
        run = describe(self.folder, progress)
        self._calls.call(lambda again: backend.open(run))
        progress.opened(self._feed.every_rank)
        self._files.use(backend)
        return backend

    def _wait_for_the_run(self) -> None:
        """Nothing is opened before the run has something to tell: by then its script has settled name and project."""
        while not (self._ceasing.is_set() or self._has_begun(self.progress.delivery)):
            self._watch.look()
            if self._watch.complete() or not self._follow:
                return
            self._calls.pause(POLL)

    def _has_begun(self, delivery: Delivery) -> bool:
        if delivery.batches or delivery.pending is not None:
            return True
        self._gatherer.gather()
        portion = self._feed.next(delivery.cursors)
        batch = portion.batch if portion is not None else None
        return batch is not None and bool(
            batch.points or batch.params or batch.tags or batch.artifacts or batch.events or batch.spans
        )

    def _next(self) -> Portion | None:
        delivery = self.progress.delivery
        if delivery.pending is not None:
            portion = self._feed.again(delivery.pending)
            if portion is not None:
                return portion
        return self._feed.next(delivery.cursors)

    def _hand_over(self, backend: Backend, portion: Portion, again: bool) -> bool:
        """Deliver one portion; whether the next batch is still the first after `open`."""
        for sentence in portion.damage:
            self.progress.say(f"{portion.pending.journal}: {sentence}")
        batch = portion.batch
        if batch is None:
            self.progress.delivered(portion.pending, 0, 0)
            return again
        self.progress.begin(portion.pending)
        refused = 0
        for records, why in self._refused(backend, batch, again):
            self.progress.reject(batch.id, records, why)
            refused += sum(len(getattr(record, "steps", ())) for record in records)
        self.progress.delivered(portion.pending, max(0, len(batch) - refused))
        return False

    def _refused(self, backend: Backend, batch: Batch, again: bool) -> Iterator[Letter]:
        """Write the batch; what of it is refused for good."""
        write = backend.write
        try:
            self._calls.call(lambda repeat: write(dataclasses.replace(batch, again=again or repeat)), bounded=True)
            self._rounds = 0
        except Rejected as error:
            yield error.records, error.why
        except Exception as error:
            if self._ceasing.is_set() or not unknown(error):
                raise
            self.progress.trace(error)
            search = Isolation(write, first_line)
            found = list(search.letters(batch, error))
            self._rounds += 1
            if not search.taken and self._rounds < MOST_ROUNDS:
                yield from self._refused(backend, batch, again)
                return
            yield from found

    def _close(self, backend: Backend) -> bool:
        """Deliver the end of the run; whether that is all. Files that fail are not waited for."""
        deadline = time.monotonic() + PATIENCE
        while self._files.left() and time.monotonic() < deadline and not self._ceasing.is_set():
            if self._files.step():
                deadline = time.monotonic() + PATIENCE
            else:
                self._calls.pause(min(POLL, self._files.wait()))
        outcome = self._watch.outcome()
        try:
            self._calls.call(lambda again: backend.close(outcome))
        except Rejected as error:
            self.progress.reject("close", error.records, error.why)
        self._backend = None
        if self._files.left():
            self.progress.without_files()
            return False
        self.progress.done()
        return True
