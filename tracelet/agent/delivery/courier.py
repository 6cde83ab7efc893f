"""Delivers one run to one backend: a thread that reads batches, writes them to the backend, and then moves its cursor.

Runs in the agent, in the training process with `delivery="inline"`, and in `tracelet sync`. Nothing else calls the
backend. It holds one batch in memory, retries with backoff and jitter while the backend is unavailable, and is a daemon
thread: a call that never returns cannot keep its process alive.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tracelet.agent.delivery import backend_loading
from tracelet.agent.delivery.backend_calls import BackendCalls, is_unknown, unexplained
from tracelet.agent.delivery.batch_reader import BatchReader, JournalSlice
from tracelet.agent.delivery.courier_state import CourierState
from tracelet.agent.delivery.file_delivery import TIMEOUT, FileDelivery
from tracelet.agent.delivery.isolation import Isolation, Refusal
from tracelet.agent.delivery.rank_aggregation import RankAggregator
from tracelet.agent.delivery.run_description import describe_run
from tracelet.agent.process.configuration import BackendConfig
from tracelet.agent.process.locks import Lock
from tracelet.agent.process.process_watch import ProcessWatch
from tracelet.backends.base import Backend, Batch
from tracelet.backends.refusals import first_line
from tracelet.errors import Misconfigured, Rejected, Unavailable
from tracelet.redaction.redactor import Redactor
from tracelet.store import delivery_state
from tracelet.store.delivery_state import Delivery
from tracelet.store.source_trackers import is_source

POLL = 0.5
"""Seconds between two checks for new data; the training flushes about as often."""
MAX_ROUNDS = 10
"""How often in a row a batch may be split without any record being accepted; then it is set aside whole."""
ERROR_PAUSE = 30.0
"""Seconds after which a backend that failed with an unknown error is opened again."""
OVERDUE = 60.0
"""Seconds after which a call that has not returned is reported."""


class Courier(threading.Thread):
    """Delivers to one backend. `start()` it, `wake()` it after a change, `stop()` it to have it end soon.

    With `follow` it runs until the run has ended; without, until it has delivered the existing data.
    """

    def __init__(
        self,
        folder: Path,
        config: BackendConfig,
        log: Callable[[str], None],
        follow: bool = True,
        aggregator: RankAggregator | None = None,
        repair: bool = False,
    ) -> None:
        name, options = config.name, config.options
        super().__init__(name=f"tracelet-courier-{name}", daemon=True)
        self.backend = name
        self.folder = folder
        self.state = CourierState(folder, name, Redactor(options), log)
        self.lock = Lock(folder / delivery_state.FOLDER / f"{name}.lock")
        self._reference = config.reference
        self._options = options
        self._follow = follow
        self._repair = repair
        """Whether everything is sent again, so that what the backend lost is there."""
        self._reader = BatchReader(folder)
        self._aggregator = aggregator or RankAggregator(folder)
        self._watch = ProcessWatch(folder)
        self._stopping = threading.Event()
        self._calls = BackendCalls(self.state, self._stopping)
        self._rounds = 0
        self._backend: Backend | None = None
        self._files = FileDelivery(folder, self.state, self._calls.attempt, self._calls.jitter)

    def wake(self) -> None:
        """Check for data, or retry, now."""
        self._files.retry_now()
        self._calls.wake()

    def stop(self) -> None:
        """Stop after the current call; the rest is left for later."""
        self._stopping.set()
        self._calls.wake()

    def call_seconds(self) -> float:
        """Seconds since the current call began."""
        return self._calls.call_seconds()

    def overdue(self) -> bool:
        """Whether the backend was called and has not returned for a long time."""
        return self.call_seconds() > OVERDUE

    def run(self) -> None:
        """Deliver everything. The only place that catches any exception of an SDK."""
        try:
            if self._acquire_lock():
                self.state.reload()
                if self._repair:
                    self.state.restart()
                self._deliver_persistently()
        except Misconfigured as error:
            self._mark_misconfigured(error.why, error.fix)
        except Unavailable:
            return  # stopped while it was waiting; the state is offline already
        except Exception as error:
            self._mark_misconfigured(*unexplained(error))
        finally:
            self._release()

    def _acquire_lock(self) -> bool:
        while not self.lock.acquire():
            if self._stopping.is_set():
                return False
            self._calls.pause(POLL)  # `tracelet sync` is delivering this run now
        return True

    def _mark_misconfigured(self, why: str, fix: str) -> None:
        try:
            self.state.misconfigured(why, fix)
        except OSError as error:
            self.state.log(f"stopped: {why}; the retry_state cannot be saved to disk ({error})")

    def _deliver_persistently(self) -> None:
        """Deliver; while the training runs, an unknown error of the backend ends a try and not the delivery."""
        while True:
            try:
                return self._deliver()
            except (Misconfigured, Unavailable):
                raise
            except Exception as error:
                self._watch.update()
                if self._stopping.is_set() or not self._follow or self._watch.complete():
                    raise
                self.state.trace(error)
                self._mark_misconfigured(*unexplained(error))
                self._abandon()
                self._calls.pause(ERROR_PAUSE)

    def _release(self) -> None:
        self._abandon()
        self.lock.release()

    def _abandon(self) -> None:
        """Close the backend without an outcome."""
        backend, self._backend = self._backend, None
        if backend is not None:
            try:
                backend.close(None)
            except Exception as error:
                self.state.log(f"closing failed ({type(error).__name__}: {error})")

    def _deliver(self) -> None:
        self._wait_for_content()
        while not (self._deliver_values() or self._stopping.is_set()):
            self._calls.pause(self._files.wait() + POLL)  # all but files is delivered; retry these

    def _deliver_values(self) -> bool:
        """Open the backend and deliver until the run is complete; whether files are delivered as well."""
        backend = self._open()
        again = True
        while not self._stopping.is_set():
            self._watch.update()
            complete = self._watch.complete()  # checked first: what is read after the end is complete
            complete = self._aggregator.aggregate() and complete
            journal_slice = self._next_slice()
            if journal_slice is not None:
                again = self._write_slice(backend, journal_slice, again or self.state.delivery.repairing)
            moved = self._files.step()
            if journal_slice is not None or moved:
                continue
            if complete:
                return self._close(backend)
            if not (self._follow or self._files.left()):
                return True
            self._calls.pause(POLL)
        return True

    def _open(self) -> Backend:
        state = self.state
        state.opening()
        self._backend = backend = backend_loading.make(self.backend, self._reference, self._options)
        self._reader.every_rank = getattr(backend, "every_rank", False)
        run = describe_run(self.folder, state)
        self._calls.call(lambda again: backend.open(run))
        state.opened(self._reader.every_rank)
        self._files.use(backend)
        return backend

    def _wait_for_content(self) -> None:
        """Open nothing before the run has content: by then its script has set name and project."""
        while not (self._stopping.is_set() or self._has_content(self.state.delivery)):
            self._watch.update()
            if self._watch.complete() or not self._follow:
                return
            self._calls.pause(POLL)

    def _has_content(self, delivery: Delivery) -> bool:
        if delivery.batches or delivery.pending is not None:
            return True
        self._aggregator.aggregate()
        journal_slice = self._reader.next(delivery.cursors)
        batch = journal_slice.batch if journal_slice is not None else None
        return batch is not None and bool(
            batch.points or batch.params or batch.tags or batch.artifacts or batch.events or batch.spans
        )

    def _next_slice(self) -> JournalSlice | None:
        delivery = self.state.delivery
        if delivery.pending is not None:
            journal_slice = self._reader.repeat(delivery.pending)
            if journal_slice is not None:
                return journal_slice
        return self._reader.next(delivery.cursors)

    def _write_slice(self, backend: Backend, journal_slice: JournalSlice, again: bool) -> bool:
        """Deliver one slice; whether the next batch is still the first after `open`."""
        for sentence in journal_slice.damage:
            self.state.log(f"{journal_slice.pending.journal}: {sentence}")
        batch = journal_slice.batch
        if batch is not None and is_source(self.backend, batch.events):
            raise Misconfigured(
                f"the program reports to {self.backend} itself, and this run was recorded from there: delivered, it "
                f"would be in {self.backend} twice",
                f"remove {self.backend} from the run's backends, or start with track_{self.backend} = false",
            )
        if batch is None:
            self.state.delivered(journal_slice.pending, 0, 0)
            return again
        self.state.begin_batch(journal_slice.pending)
        refused = 0
        for records, why in self._refused(backend, batch, again):
            self.state.reject(batch.id, records, why)
            refused += sum(len(getattr(record, "steps", ())) for record in records)
        self.state.delivered(journal_slice.pending, max(0, len(batch) - refused))
        return False

    def _refused(self, backend: Backend, batch: Batch, again: bool) -> Iterator[Refusal]:
        """Write the batch; returns its permanently refused records."""
        write = backend.write
        try:
            self._calls.call(lambda repeat: write(dataclasses.replace(batch, again=again or repeat)), bounded=True)
            self._rounds = 0
        except Rejected as error:
            yield error.records, error.why
        except Exception as error:
            if self._stopping.is_set() or not is_unknown(error):
                raise
            self.state.trace(error)
            search = Isolation(write, first_line)
            found = list(search.refusals(batch, error))
            self._rounds += 1
            if not search.accepted and self._rounds < MAX_ROUNDS:
                yield from self._refused(backend, batch, again)
                return
            yield from found

    def _close(self, backend: Backend) -> bool:
        """Deliver the end of the run; whether that is complete. Does not wait for failing files."""
        deadline = time.monotonic() + TIMEOUT
        while self._files.left() and time.monotonic() < deadline and not self._stopping.is_set():
            if self._files.step():
                deadline = time.monotonic() + TIMEOUT
            else:
                self._calls.pause(min(POLL, self._files.wait()))
        outcome = self._watch.outcome()
        try:
            self._calls.call(lambda again: backend.close(outcome))
        except Rejected as error:
            self.state.reject("close", error.records, error.why)
        except Exception as error:
            if self._stopping.is_set() or not is_unknown(error):
                raise
            self.state.trace(error)
            self.state.reject("close", [{"status": outcome.status}], ": ".join(unexplained(error)))
        self._backend = None
        if self._files.left():
            self.state.without_files()
            return False
        self.state.done()
        return True
