"""Records media: takes copies on the program's threads, and encodes, stores and records them on a thread of its own.

The thread `tracelet-media` starts with the first value. For each value it encodes the bytes, writes them to the run's
folder, and then emits the record that names them: a record without its bytes never exists. A value that cannot be
recorded costs itself and is reported once. While the disk refuses, values wait in bounded memory (`WaitingMedia`).
Raises only for a value that the program gave wrongly.
"""

from __future__ import annotations

import errno
import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol, cast

from tracelet import guard
from tracelet.capture.clock import now
from tracelet.capture.exception_text import describe_exception
from tracelet.errors import InvalidMedia
from tracelet.journal.media_record import TEXT, Media
from tracelet.journal.records import Notice, Record
from tracelet.media import arrays
from tracelet.media.content_folder import media_folder
from tracelet.media.media_value import Encoded, MediaValue, Snapshot, Stored
from tracelet.media.waiting_media import Waiting, WaitingMedia
from tracelet.redaction.known_secrets import redact
from tracelet.redaction.masking import mask_text
from tracelet.redaction.recorded_names import masked_name

MEGABYTE = 1024 * 1024
INLINE_BYTES = 2048
"""Texts up to here are in the record itself: a histogram of 64 bins, a sentence. Thousands of files would be slow."""
TEXTUAL = frozenset({"plain", "markdown", "html", "json", "plotly", "svg", "arrow"})
"""Formats in which a known secret is readable; masking one keeps the length, so an Arrow file stays sound."""
RETRY_PAUSE = 2.0
"""Seconds between two attempts while the disk refuses."""
POLL_INTERVAL = 0.5
MAX_REPORTED = 100
"""Different problems that are reported; a program may make up ever new names."""
MAX_NAME = 1000
FINAL_ERRORS = frozenset({errno.ENAMETOOLONG, errno.EFBIG, errno.ENOENT, errno.ENOTDIR})
"""Errors that another attempt does not fix; ENOENT: the run was deleted."""


class RecordSink(Protocol):
    """Where the records go: the run's writer."""

    def emit(self, item: Record) -> None:
        """Take one record."""


class MediaRecorder:
    """The media of one run in this process."""

    def __init__(self, folder: Path, sink: RecordSink, megabytes: int, next_steps: Mapping[str, int]) -> None:
        self.folder = media_folder(folder)
        self._sink = sink
        self._waiting = WaitingMedia(megabytes * MEGABYTE)
        self._next_step = dict(next_steps)
        self._names: dict[str, str] = {}
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._requests: SimpleQueue[tuple[int, SimpleQueue[bool]]] = SimpleQueue()
        self._reported: set[str] = set()
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopping = self._abandoned = False
        self._failing = False
        """Whether the disk refused the last attempt."""
        self._flushes: list[tuple[int, SimpleQueue[bool]]] = []

    def take(
        self, name: Any, values: Sequence[MediaValue], step: int | None, *, at: int | None = None, epoch: int = -1,
        stage: str = "",
    ) -> None:  # fmt: skip
        """Copy values that were logged together, to be recorded. Raises `InvalidMedia`: then none of them is.

        `at`: microseconds since the epoch, if that is not now.
        """
        if not isinstance(name, str) or not name:
            raise InvalidMedia(f"a name must be a non-empty string, not {name!r}; e.g. log_image('samples', image)")
        snapshots = [self._snapshot(name, value) for value in values]
        step = self._next_step.get(name, 0) if step is None else step
        self._next_step[name] = step + 1
        at = now() if at is None else at
        for place, (value, snapshot) in enumerate(zip(values, snapshots)):
            self._waiting.put(Waiting(name, snapshot, step, at, value.caption, place, len(values), epoch, stage))
        if self._thread is None:
            self._start()
        if self._wakes.empty():
            self._wakes.put(None)

    def _snapshot(self, name: str, value: MediaValue) -> Snapshot:
        # Values are the program's objects, and copying one runs its own code, which may raise anything.
        found: Any = guard.attempt(lambda: value.snapshot(self.folder), lambda error: error)
        if not isinstance(found, Exception):
            return cast("Snapshot", found)
        if isinstance(found, InvalidMedia):
            raise InvalidMedia(f"{name!r}: {found}") from None
        raise InvalidMedia(f"{name!r} cannot be copied ({describe_exception(found)}); it was not recorded") from None

    def report(self, name: str, why: str) -> None:
        """Report, once, that a value could not be recorded or is not recorded as it was given."""
        message = f"{name!r}: {why}" if name else why
        if message in self._reported or len(self._reported) >= MAX_REPORTED:
            return
        self._reported.add(message)
        guard.say(f"{message}. The training and all other values are not affected.")
        self._sink.emit(Notice(time=now(), code="media", message=message, count=1))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything logged so far is emitted to the journal. False: not in time, or the disk refuses it."""
        if self._thread is None or threading.current_thread() is self._thread:
            return True
        answer: SimpleQueue[bool] = SimpleQueue()
        self._requests.put((self._waiting.put_count, answer))
        self._wakes.put(None)
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._thread.is_alive() and (deadline is None or time.monotonic() < deadline):
            rest = POLL_INTERVAL if deadline is None else min(POLL_INTERVAL, max(0.0, deadline - time.monotonic()))
            try:
                return answer.get(timeout=rest)
            except Empty:
                continue
        return not answer.empty()

    def close(self, timeout: float | None = None) -> None:
        """Have everything recorded, within the timeout, and end the thread. What is left is dropped and counted."""
        self._stopping = True
        if self._thread is None:
            return
        if not self.flush(timeout):
            self._abandoned = True
            self._waiting.drop_all()
        self._report_thinned("the run ended before they were written")
        self._abandoned = True
        self._wakes.put(None)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="tracelet-media", daemon=True)
                with guard.guard("starting the thread that records media"):
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        while not self._abandoned:
            try:
                self._wakes.get(timeout=RETRY_PAUSE)
            except Empty:
                pass  # a lost wake-up costs two seconds, and no value
            with guard.guard("recording media"):
                self._record_all()
        self._refuse_flushes()

    def _record_all(self) -> None:
        self._answer()
        while not self._abandoned and (waiting := self._waiting.first()) is not None:
            try:
                with guard.guard(f"recording the media {waiting.name!r}"):
                    self._record(waiting)
            finally:
                self._waiting.release(waiting)
            self._answer()
        self._report_thinned("the disk or the encoder was slower than the program")

    def _record(self, waiting: Waiting) -> None:
        try:
            with arrays.quiet():
                encoded = waiting.snapshot.encode()
        except InvalidMedia as error:
            self.report(waiting.name, f"not recorded: {error}")
            return
        if encoded.remark:
            self.report(waiting.name, encoded.remark)
        while not self._abandoned:
            try:
                record = self._store(waiting, encoded)
            except OSError as error:
                if not self._may_retry(error):
                    self.report(waiting.name, f"not recorded: {error.strerror or error}")
                    return
                self._refuse_flushes()
                time.sleep(RETRY_PAUSE if not self._stopping else POLL_INTERVAL)
                continue
            self._sink.emit(record)
            self._on_success()
            return
        self._waiting.thinned[waiting.name] += 1

    def _store(self, waiting: Waiting, encoded: Encoded) -> Media:
        for attached in encoded.attached:
            self.folder.put(attached)
        content, inline, digest = encoded.content, b"", ""
        if isinstance(content, Stored):
            size, digest = content.size, content.digest
        else:
            content = _masked(encoded, content)
            size = len(content)
            if size <= INLINE_BYTES and encoded.format in TEXTUAL:
                inline, digest = content, hashlib.sha256(content).hexdigest()
            else:
                digest = self.folder.put(content)
        return Media(
            time=waiting.time, name=self._name(waiting.name), step=waiting.step, kind=encoded.kind,
            format=encoded.format, digest=digest, content=inline, size=size, width=encoded.width,
            height=encoded.height, caption=mask_text(waiting.caption), index=waiting.index, count=waiting.count,
            epoch=waiting.epoch, stage=waiting.stage, extra=dict(encoded.extra),
        )  # fmt: skip

    def _name(self, name: str) -> str:
        found = self._names.get(name)
        if found is None:
            found = self._names[name] = masked_name(name[:MAX_NAME])
        return found

    def _may_retry(self, error: OSError) -> bool:
        if error.errno in FINAL_ERRORS:
            return False
        if not self._failing:
            self._failing = True
            guard.say(
                f"cannot write {self.folder.folder} ({error.strerror or error}). The training continues, and media are "
                "kept in memory, thinned if there are too many. Free some space: writing then resumes automatically.",
                once=f"media:{self.folder.folder}",
            )
        return True

    def _on_success(self) -> None:
        if self._failing:
            self._failing = False
            guard.say(f"writing {self.folder.folder} works again.")

    def _report_thinned(self, why: str) -> None:
        thinned = self._waiting.thinned
        for name in list(thinned):
            count = thinned.pop(name)
            message = f"{count:,} values of the media {self._name(name)!r} were not recorded because {why}"
            guard.say(f"{message}. Log them less often, or raise the setting media_memory.", once=f"thinned:{name}")
            self._sink.emit(Notice(time=now(), code="media", message=message, count=count))

    def _answer(self) -> None:
        """Answer the flushes whose values are recorded by now."""
        while not self._requests.empty():
            self._flushes.append(self._requests.get())
        oldest = self._waiting.oldest_number()
        for request in [request for request in self._flushes if request[0] < oldest]:
            self._flushes.remove(request)
            request[1].put(True)

    def _refuse_flushes(self) -> None:
        """Nobody waits for a disk that refuses."""
        while not self._requests.empty():
            self._flushes.append(self._requests.get())
        while self._flushes:
            self._flushes.pop()[1].put(False)


def _masked(encoded: Encoded, content: bytes) -> bytes:
    """The bytes without secrets, where they are text."""
    if encoded.kind == TEXT:
        content = mask_text(content.decode()).encode()
    return redact(content) if encoded.format in TEXTUAL else content
