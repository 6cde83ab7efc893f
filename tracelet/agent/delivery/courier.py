"""Delivers one run to one backend: a thread that reads batches, hands them over, and moves its cursor afterwards.

Runs in the agent, in the training process with `delivery="inline"`, and in `tracelet sync`. It alone calls the
backend. It holds one batch in memory, waits with backoff and jitter while the backend does not answer, and delays
nobody: the thread is a daemon, so a call that never returns cannot hold the end of its process.
"""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_when_event_set

from tracelet.agent.delivery import backend_loading
from tracelet.agent.delivery.batch_reader import Feed, Portion
from tracelet.agent.delivery.courier_state import Progress
from tracelet.agent.delivery.rank_aggregation import Gatherer
from tracelet.agent.delivery.run_description import describe
from tracelet.agent.process.configuration import Posting
from tracelet.agent.process.locks import Lock
from tracelet.agent.process.process_watch import Watch
from tracelet.backends.base import Backend
from tracelet.errors import Misconfigured, Rejected, Unavailable
from tracelet.redaction.redactor import Redactor
from tracelet.store import delivery_state
from tracelet.store.delivery_state import Delivery

POLL = 0.5
"""Seconds between two looks for something new; the training flushes about as often."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds; each attempt waits at random between nothing and the double of what the last one might have waited."""
MOST_DOUBLINGS = 10
STRIKES = 8
"""How often, in half a minute, a call may fail in a way that the backend does not explain; then it is broken."""
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
        self._nudged = threading.Event()
        self._strikes = 0
        self._called = 0.0
        self._dice = random.Random()  # of our own: the global one belongs to the training, which "inline" shares
        self._backend: Backend | None = None

    def nudge(self) -> None:
        """Look, or try again, now."""
        self._nudged.set()

    def cease(self) -> None:
        """Stop after the call that is being made; what is left stays for another time."""
        self._ceasing.set()
        self._nudged.set()

    def waited(self) -> float:
        """Seconds since the call that is being made began."""
        called = self._called
        return time.monotonic() - called if called else 0.0

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
            self._give_up(*_unexplained(error))
        finally:
            self._let_go()

    def _hold(self) -> bool:
        while not self.lock.acquire():
            if self._ceasing.is_set():
                return False
            self._pause(POLL)  # `tracelet sync` delivers this run just now
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
        progress = self.progress
        self._wait_for_the_run()
        progress.opening()
        self._backend = backend = backend_loading.make(self.backend, self._reference, self._options)
        self._feed.every_rank = getattr(backend, "every_rank", False)
        run = describe(self.folder, progress.delivery.memory, progress.remember, progress.announce)
        self._call(lambda again: backend.open(run))
        progress.opened(self._feed.every_rank)
        again = True
        while not self._ceasing.is_set():
            self._watch.look()
            complete = self._watch.complete()  # asked first: what is read after it is all there will ever be
            complete = self._gatherer.gather() and complete
            portion = self._next()
            if portion is not None:
                again = self._hand_over(backend, portion, again)
            elif complete:
                self._close(backend)
                return
            elif not self._follow:
                return
            else:
                self._pause(POLL)

    def _wait_for_the_run(self) -> None:
        """Nothing is opened before the run has something to tell: by then its script has settled name and project."""
        while not (self._ceasing.is_set() or self._has_begun(self.progress.delivery)):
            self._watch.look()
            if self._watch.complete() or not self._follow:
                return
            self._pause(POLL)

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
        try:
            self._call(lambda repeat: backend.write(dataclasses.replace(batch, again=again or repeat)))
        except Rejected as error:
            self.progress.reject(batch.id, error.records, error.why)
            refused = sum(len(getattr(record, "steps", ())) for record in error.records)
        self.progress.delivered(portion.pending, max(0, len(batch) - refused))
        return False

    def _close(self, backend: Backend) -> None:
        outcome = self._watch.outcome()
        try:
            self._call(lambda again: backend.close(outcome))
        except Rejected as error:
            self.progress.reject("close", error.records, error.why)
        self._backend = None
        self.progress.done()

    def _call(self, verb: Callable[[bool], None]) -> None:
        """Call the backend until it takes it. The argument of `verb` tells whether it was tried before."""
        self._strikes = 0
        for attempt in Retrying(
            retry=retry_if_exception(self._worth_another), wait=self._jitter,
            stop=stop_when_event_set(self._ceasing), sleep=self._pause, before_sleep=self._tell, reraise=True,
        ):  # fmt: skip
            with attempt:
                self._called = time.monotonic()
                try:
                    verb(attempt.retry_state.attempt_number > 1)
                except Exception as error:
                    if _too_late(error):
                        raise Misconfigured(*_unexplained(error)) from error
                    raise
                finally:
                    self._called = 0.0

    def _worth_another(self, error: BaseException) -> bool:
        if isinstance(error, Unavailable):
            return True
        if isinstance(error, (Misconfigured, Rejected)) or not isinstance(error, Exception):
            return False
        self._strikes += 1
        return self._strikes < STRIKES

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.progress.offline(str(error) if isinstance(error, Unavailable) else f"{type(error).__name__}: {error}")

    def _jitter(self, state: RetryCallState) -> float:
        widest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(state.attempt_number, MOST_DOUBLINGS))
        return self._dice.uniform(0.0, widest)

    def _pause(self, seconds: float) -> None:
        self._nudged.wait(seconds)
        self._nudged.clear()


def _too_late(error: Exception) -> bool:
    """Whether Python refuses it, in whatever words, because it is ending: then it refuses it again and again."""
    return not threading.main_thread().is_alive() and "shutdown" in str(error)


def _unexplained(error: Exception) -> tuple[str, str]:
    """What to say, and what to type, of an error that the backend has not explained."""
    if _too_late(error):
        return (
            f"the program ended before the backend's SDK had started, and Python starts no threads at exit ({error})",
            "Next time, end the program with tracelet.stop_logging(), or use `with tracelet.start_logging(...)`",
        )
    return f"{type(error).__name__}: {error}", "See agent.log in the run's folder"
