"""The saved state of one courier: its progress and its dead letters.

Used by one courier, on its thread. Files are replaced atomically, and every string is redacted.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from tracelet.errors import Unavailable
from tracelet.journal.private_files import open_private
from tracelet.store import delivery_state
from tracelet.store.delivery_state import DONE, MISCONFIGURED, OFFLINE, OK, OPENING, Delivery, Pending

Redact = Callable[[str], str]
MAX_ERROR_LENGTH = 1000
MOST_NAMES = 10_000
"""Changed names that the state lists."""
MOST_TRACES = 20
"""Characters kept of an SDK's message."""


class CourierState:
    """One backend's delivery, from the first batch to the last."""

    def __init__(self, folder: Path, backend: str, redact: Redact, log: Callable[[str], None]) -> None:
        self.folder = folder
        self.delivery = delivery_state.read(folder, backend) or Delivery(backend=backend)
        self._redact = redact
        self._log = log
        self._refused = False
        self._traced: set[str] = set()
        self._files_since = 0.0

    def log(self, sentence: str) -> None:
        """Write a line to the log."""
        self._log(f"{self.delivery.backend}: {self._redact(sentence)}")

    def reload(self) -> None:
        """Read the progress again: another process may have delivered while this one waited for the lock."""
        self.delivery = delivery_state.read(self.folder, self.delivery.backend) or self.delivery

    def opening(self) -> None:
        """The courier starts."""
        self._save(state=OPENING, error="", fix="", since=0.0)

    def opened(self, every_rank: bool = False) -> None:
        """The backend has answered."""
        delivery = self.delivery
        before_files = bool(delivery.batches) and not delivery.file_cursors and delivery.file_pending is None
        files = delivery.cursors if before_files else delivery.file_cursors  # files were delivered with the points then
        self._save(state=OK, error="", fix="", since=0.0, every_rank=every_rank, file_cursors=files)

    def begin_batch(self, pending: Pending) -> None:
        """A batch is about to be delivered."""
        self._save(pending=pending)

    def delivered(self, pending: Pending, points: int, batches: int = 1) -> None:
        """The backend has the batch."""
        delivery = self.delivery
        cursors = {**delivery.cursors, pending.journal: pending.stop}
        self._save(
            cursors=cursors, pending=None, points=delivery.points + points, batches=delivery.batches + batches,
            state=OK, error="", since=0.0,
        )  # fmt: skip

    def offline(self, error: str) -> None:
        """The backend is unavailable; logged once per outage."""
        if self.delivery.state != OFFLINE:
            self.log(f"offline, will retry: {error}")
            self._save(state=OFFLINE, error=self._shortened(error), since=time.time())

    def misconfigured(self, why: str, fix: str) -> None:
        """Nothing can be delivered until somebody fixes the settings."""
        self.log(f"stopped: {why}. {fix}")
        self._save(state=MISCONFIGURED, error=self._shortened(why), fix=self._shortened(fix), since=time.time())

    def begin_files(self, pending: Pending) -> None:
        """A batch of files is about to be delivered."""
        if self.delivery.file_pending != pending:
            self._save(file_pending=pending)

    def files_delivered(self, pending: Pending) -> None:
        """The backend has these files, or will never accept them."""
        self._files_since = 0.0
        cursors = {**self.delivery.file_cursors, pending.journal: pending.stop}
        self._save(file_cursors=cursors, file_pending=None, files_error="")

    def files_wait(self, error: str) -> None:
        """The artifact store is unavailable; logged once per outage. Everything else is delivered."""
        if not self.delivery.files_error:
            self.log(f"files are not delivered, will retry: {error}")
            self._files_since = time.time()
            self._save(files_error=self._shortened(error))

    def without_files(self) -> None:
        """Everything but the files has been delivered, including the end of the run."""
        error = f"files are not delivered: {self.delivery.files_error or 'not finished'}"
        self._save(state=OFFLINE, error=error, since=self._files_since or time.time())

    def found(self) -> None:
        """See `RunDescription.found`: the notes on what was delivered are lost."""
        if not self.delivery.batches:
            self._save(repairing=True)

    def restart(self) -> None:
        """Everything is sent again; what the backend has is left out."""
        self._save(
            repairing=True, cursors={}, pending=None, file_cursors={}, file_pending=None, points=0, batches=0,
            error="", fix="",
        )  # fmt: skip

    def renamed(self, names: Mapping[str, str]) -> None:
        """See `RunDescription.renamed`."""
        known = self.delivery.renamed
        fresh = {name: there for name, there in names.items() if known.get(name) != there}
        if not fresh:
            return
        name, there = next(iter(fresh.items()))
        more = f", and {len(fresh) - 1} more, see `deliveries` of the run" if len(fresh) > 1 else ""
        self.log(f"{name!r} is named {there!r} there{more}")
        room = max(0, MOST_NAMES - len(known))
        self._save(renamed={**known, **dict(islice(fresh.items(), room))})

    def trace(self, error: BaseException) -> None:
        """Log an error's traceback, once for each with the same text."""
        text = "".join(traceback.format_exception(error))
        if text not in self._traced:
            self._traced = {*islice(self._traced, MOST_TRACES), text}
            self.log(text.rstrip())

    def done(self) -> None:
        """The whole run has been delivered, including its end."""
        self._save(state=DONE, error="", fix="", since=0.0, repairing=False)

    def remember(self, name: str, value: Any) -> None:
        """See `RunDescription.remember`. Unavailable if the disk refuses it: a remote run must not be forgotten."""
        if not self._save(memory={**self.delivery.memory, name: value}):
            raise Unavailable(f"{name} cannot be saved to disk; the backend is retried later")

    def announce(self, url: str) -> None:
        """See `RunDescription.announce`."""
        self._save(url=self._redact(url))
        self.log(f"view at {url}")

    def reject(self, batch: str, records: list[Any], why: str) -> None:
        """Set permanently refused records aside."""
        path = self.folder / delivery_state.FOLDER / f"{self.delivery.backend}.dead.jsonl"
        reason = self._shortened(why)
        with open(path, "ab", opener=open_private) as file:
            for record in records:
                line: dict[str, Any] = {"time": time.time(), "batch": batch, "why": reason, "record": _plain(record)}
                file.write(msgspec.json.encode(line, enc_hook=str) + b"\n")
        self.log(f"{len(records)} records were rejected and saved to {path.name}: {reason}")
        self._save(rejected=self.delivery.rejected + len(records))

    def _shortened(self, text: str) -> str:
        return self._redact(text)[:MAX_ERROR_LENGTH]

    def _save(self, **changes: Any) -> bool:
        """Change the state in memory and on disk; whether the disk accepted it. If not, the next change
        saves it too.
        """
        self.delivery = msgspec.structs.replace(self.delivery, updated=time.time(), **changes)
        try:
            delivery_state.write(self.folder, self.delivery)
        except OSError as error:
            if not self._refused:
                self.log(f"the delivery progress cannot be saved to disk ({error}); delivery continues")
            self._refused = True
            return False
        self._refused = False
        return True


def _plain(record: Any) -> Any:
    if isinstance(record, Mapping):
        return {str(key): value for key, value in record.items()}
    return (
        {"kind": type(record).__name__, **msgspec.to_builtins(record, enc_hook=str)} if _structured(record) else record
    )


def _structured(record: Any) -> bool:
    return hasattr(record, "__dataclass_fields__") or isinstance(record, msgspec.Struct)
