"""Delivers files separately from points: with its own cursors, when due, and without delaying anything else.

Used by one courier, on its thread, between two batches of points. If the artifact store fails, points, parameters, tags
and the status of the run are still delivered. Calls only the backend's `upload`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from tracelet.agent.delivery.batch_reader import BatchReader, JournalSlice
from tracelet.agent.delivery.courier_state import CourierState
from tracelet.agent.delivery.isolation import Isolation, records_of
from tracelet.backends.base import Backend, Batch
from tracelet.backends.refusals import Verdict, first_line, verdict
from tracelet.errors import Misconfigured, Rejected, Unavailable, Unexplained

MAX_UNEXPLAINED_FAILURES = 6
"""How often an upload may fail with an unknown error before its files are set aside."""
TIMEOUT = 5.0
"""Seconds that the end of a run waits for failing files; then its status is delivered without them."""

Attempt = Callable[[Callable[[], None]], None]


class FileDelivery:
    """The files of one run for one backend."""

    def __init__(
        self, folder: Path, courier_state: CourierState, attempt: Attempt, jitter: Callable[[int], float]
    ) -> None:
        self._reader = BatchReader(folder, files=True)
        self._courier_state = courier_state
        self._attempt = attempt
        """Makes one call to the backend."""
        self._jitter = jitter
        self._upload: Callable[[Batch], None] | None = None
        self._skipped: dict[str, tuple[int, int]] = {}
        """Cursors after ranges without files; not worth saving to disk."""
        self._failures = self._unexplained_failures = 0
        self._due = 0.0
        self._again = True

    def use(self, backend: Backend) -> None:
        """Deliver with this backend from now on, if it accepts files."""
        self._upload = getattr(backend, "upload", None)
        self._again = True

    def wait(self) -> float:
        """Seconds until the next try."""
        return max(0.0, self._due - time.monotonic())

    def retry_now(self) -> None:
        """Try now."""
        self._due = 0.0

    def left(self) -> bool:
        """Whether there are files to deliver."""
        return self._upload is not None and self._next() is not None

    def step(self) -> bool:
        """Deliver one batch of files if it is due; whether it did."""
        if self._upload is None or self.wait():
            return False
        journal_slice = self._next()
        if journal_slice is None or journal_slice.batch is None:
            return False
        self._courier_state.begin_files(journal_slice.pending)
        batch = dataclasses.replace(journal_slice.batch, again=self._again or self._failures > 0)
        try:
            self._send(batch)
        except Rejected as error:
            self._courier_state.reject(batch.id, error.records, error.why)
        except Misconfigured as error:
            self._courier_state.reject(batch.id, records_of(batch), error.why)
        except Exception as error:
            if not self._set_aside(batch, error):
                return False
        self._failures = self._unexplained_failures = 0
        self._again = False
        self._courier_state.files_delivered(journal_slice.pending)
        return True

    def _next(self) -> JournalSlice | None:
        delivery = self._courier_state.delivery
        if delivery.file_pending is not None:
            again = self._reader.repeat(delivery.file_pending)
            if again is not None and again.batch is not None:
                return again
        while True:
            journal_slice = self._reader.next({**delivery.file_cursors, **self._skipped})
            if journal_slice is None or journal_slice.batch is not None:
                return journal_slice
            self._skipped[journal_slice.pending.journal] = journal_slice.pending.stop

    def _send(self, batch: Batch) -> None:
        upload = self._upload
        assert upload is not None
        self._attempt(lambda: upload(batch))

    def _set_aside(self, batch: Batch, error: Exception) -> bool:
        """Whether the batch is finished: its refused records are set aside. False: it is retried later."""
        known = isinstance(error, Unavailable) and not isinstance(error, Unexplained)
        refused = not isinstance(error, Unavailable) and verdict(error) is Verdict.REFUSED
        self._unexplained_failures += not known
        if refused or self._unexplained_failures >= MAX_UNEXPLAINED_FAILURES:
            self._courier_state.trace(error)
            search = Isolation(self._send, first_line)
            try:
                for records, why in search.refusals(batch, error):
                    self._courier_state.reject(batch.id, records, why)
            except Unavailable as outage:
                return self._postpone(outage)
            return True
        return self._postpone(error)

    def _postpone(self, error: Exception) -> bool:
        self._failures += 1
        self._due = time.monotonic() + self._jitter(self._failures)
        self._courier_state.files_wait(
            str(error) if isinstance(error, Unavailable) else f"{type(error).__name__}: {error}"
        )
        return False
