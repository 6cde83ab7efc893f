"""Delivers what goes as files, apart from points: after cursors of its own, when it is due, and never waited for.

Used by one courier, on its thread, between two batches of points. Where the artifact store fails, points, parameters,
tags and the status of the run are delivered all the same. Calls the backend's `upload` and nothing else of it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from tracelet.agent.delivery.batch_reader import Feed, Portion
from tracelet.agent.delivery.courier_state import Progress
from tracelet.agent.delivery.isolation import Isolation, records_of
from tracelet.backends.base import Backend, Batch
from tracelet.backends.refusals import Verdict, first_line, verdict
from tracelet.errors import Misconfigured, Rejected, Unavailable, Unexplained

STRIKES = 6
"""How often an upload may fail in a way that nobody knows before its files are set aside."""
PATIENCE = 5.0
"""Seconds that the end of a run waits for files that fail; then its status is delivered without them."""

Attempt = Callable[[Callable[[], None]], None]


class FileDelivery:
    """The files of one run and one backend."""

    def __init__(self, folder: Path, progress: Progress, attempt: Attempt, jitter: Callable[[int], float]) -> None:
        self._feed = Feed(folder, files=True)
        self._progress = progress
        self._attempt = attempt
        """Makes one call to the backend."""
        self._jitter = jitter
        self._upload: Callable[[Batch], None] | None = None
        self._skipped: dict[str, tuple[int, int]] = {}
        """Cursors behind stretches that hold no files; not worth a note on the disk."""
        self._failures = self._strikes = 0
        self._due = 0.0
        self._again = True

    def use(self, backend: Backend) -> None:
        """Deliver by this backend from now on, if it takes files."""
        self._upload = getattr(backend, "upload", None)
        self._again = True

    def wait(self) -> float:
        """Seconds until the next try."""
        return max(0.0, self._due - time.monotonic())

    def hurry(self) -> None:
        """Try now."""
        self._due = 0.0

    def left(self) -> bool:
        """Whether there are files to deliver."""
        return self._upload is not None and self._next() is not None

    def step(self) -> bool:
        """Deliver one batch of files, if it is time; whether it was done."""
        if self._upload is None or self.wait():
            return False
        portion = self._next()
        if portion is None or portion.batch is None:
            return False
        self._progress.begin_files(portion.pending)
        batch = dataclasses.replace(portion.batch, again=self._again or self._failures > 0)
        try:
            self._send(batch)
        except Rejected as error:
            self._progress.reject(batch.id, error.records, error.why)
        except Misconfigured as error:
            self._progress.reject(batch.id, records_of(batch), error.why)
        except Exception as error:
            if not self._set_aside(batch, error):
                return False
        self._failures = self._strikes = 0
        self._again = False
        self._progress.files_delivered(portion.pending)
        return True

    def _next(self) -> Portion | None:
        delivery = self._progress.delivery
        if delivery.file_pending is not None:
            again = self._feed.again(delivery.file_pending)
            if again is not None and again.batch is not None:
                return again
        while True:
            portion = self._feed.next({**delivery.file_cursors, **self._skipped})
            if portion is None or portion.batch is not None:
                return portion
            self._skipped[portion.pending.journal] = portion.pending.stop

    def _send(self, batch: Batch) -> None:
        upload = self._upload
        assert upload is not None
        self._attempt(lambda: upload(batch))

    def _set_aside(self, batch: Batch, error: Exception) -> bool:
        """Whether the batch is done with: what of it is refused is set aside. False: it is tried again later."""
        known = isinstance(error, Unavailable) and not isinstance(error, Unexplained)
        refused = not isinstance(error, Unavailable) and verdict(error) is Verdict.REFUSED
        self._strikes += not known
        if refused or self._strikes >= STRIKES:
            self._progress.trace(error)
            search = Isolation(self._send, first_line)
            try:
                for records, why in search.letters(batch, error):
                    self._progress.reject(batch.id, records, why)
            except Unavailable as outage:
                return self._postpone(outage)
            return True
        return self._postpone(error)

    def _postpone(self, error: Exception) -> bool:
        self._failures += 1
        self._due = time.monotonic() + self._jitter(self._failures)
        self._progress.files_wait(str(error) if isinstance(error, Unavailable) else f"{type(error).__name__}: {error}")
        return False
