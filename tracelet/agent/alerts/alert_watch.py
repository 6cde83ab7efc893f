"""Follows the journals of a run for alerts: those of the program, and those that the rules find in its points.

One thread of the agent, which reads what has been written since the last time, and sends. Never part of the training:
it reads the training's journals and writes only RUN/alerts.json.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tracelet.agent.alerts.rules import Alert, Rules
from tracelet.agent.alerts.sender import Sender
from tracelet.errors import JournalError
from tracelet.guard import guard
from tracelet.journal.column_packing import list_floats, list_integers
from tracelet.journal.frames import Cursor, Frame
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.records import KIND_OF, Event, Points
from tracelet.journal.run_folder import journal_paths

EVENT = "alert"
"""The name of the event that `tracelet.alert` records."""
INTERVAL = 1.0
"""Seconds between two looks."""
TRAINING = "rank-"
"""Journals of training processes begin with this."""


class AlertWatch:
    """The alerts of one run, from the first record to the last message."""

    def __init__(
        self, folder: Path, addresses: Sequence[str], rules: str, run: str, log: Callable[[str], None]
    ) -> None:
        self._folder, self._log = folder, log
        self._rules = Rules(rules, run)
        self._run = run
        self._sender = Sender(folder, addresses, log)
        self._cursors: dict[Path, Cursor] = {}
        self._progress = time.time()
        self._stalled = False
        self._outcome: tuple[str, str, float] | None = None
        self._ended = threading.Event()
        self._settled = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tracelet-alerts", daemon=True)

    def start(self) -> None:
        """Begin to follow the run."""
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether messages have to be sent after the end of the training."""
        return self._thread.is_alive() and (not self._settled.is_set() or self._sender.pending > 0)

    def training_ended(self, status: str, reason: str, moment: float) -> None:
        """All processes have ended: read the rest, and report how the run ended."""
        self._outcome = status, reason, moment
        self._settled.clear()
        self._ended.set()

    def training_started(self) -> None:
        """The run has resumed."""
        self._ended.clear()
        self._progress, self._stalled = time.time(), False

    def stop(self) -> None:
        """End the thread; what was not sent is reported."""
        self._stopping.set()
        self._ended.set()
        self._thread.join()
        if self._sender.pending:
            self._log(f"alerts: {self._sender.pending} messages could not be sent")

    def _follow(self) -> None:
        while not self._stopping.is_set():
            ended = self._ended.is_set()
            with guard("looking for alerts"):
                self._look(ended)
            if ended:
                self._settled.set()
            with guard("sending alerts"):
                self._sender.send_due()
            (self._stopping if ended else self._ended).wait(INTERVAL)

    def _look(self, ended: bool) -> None:
        for path in journal_paths(self._folder):
            if path.name.startswith(TRAINING):
                with contextlib.suppress(JournalError, OSError):  # other readers report damage
                    self._read(path)
        if ended and self._outcome is not None and not self._settled.is_set():
            self._add(*self._rules.status(*self._outcome))
        limit = self._rules.stalled_after
        if not ended and limit and not self._stalled and time.time() - self._progress > limit:
            self._stalled = True
            self._add(self._rules.stalled(self._progress))

    def _read(self, path: Path) -> None:
        for frame in JournalReader(path).frames(self._cursors.get(path)):
            self._cursors[path] = frame.after
            if frame.kind == KIND_OF[Points]:
                self._progress, self._stalled = time.time(), False
                self._take_points(frame)
            elif frame.kind == KIND_OF[Event]:
                record = frame.record()
                if isinstance(record, Event) and record.name == EVENT:
                    self._add(self._of_program(record, f"{path.name} {frame.number}"))

    def _take_points(self, frame: Frame) -> None:
        record = frame.record()
        for chunk in record.chunks if isinstance(record, Points) else ():
            steps, values = list_integers(chunk.steps, chunk.count), list_floats(chunk.values, chunk.count)
            self._add(*self._rules.points(chunk.name, list(steps), list(values)))

    def _of_program(self, event: Event, key: str) -> Alert:
        title, text, level = (str(event.attributes.get(name, "")) for name in ("title", "text", "level"))
        return Alert(key, f"{self._run}: {title}", text or title, level)

    def _add(self, *alerts: Alert) -> None:
        for alert in alerts:
            self._sender.add(alert)
