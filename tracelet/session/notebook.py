"""A run in a notebook: detects which cell started it, and shows a live status in that cell.

Used by the session on the user's thread when a run starts and stops. In between, the thread `tracelet-notebook` checks
once a second what the writer has packed and has the kernel display it; the training's thread never does. It does not
import IPython or use its events, and does nothing outside a kernel.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from tracelet.capture.writer import Writer
from tracelet.guard import guard
from tracelet.journal.records import MetricSummary
from tracelet.session.rank_environment import in_worker_process
from tracelet.store.run import Run

REFRESH_INTERVAL = 1.0
"""Seconds between two checks."""
CLOCK_INTERVAL = 10.0
"""Seconds after which the text is displayed again without a new value, so that the clock keeps running."""
MAX_ROWS = 12
"""Metrics shown; a cell is not a dashboard."""
EXIT_TIMEOUT = 1.0
"""Seconds that the kernel's exit waits for the delivery. Jupyter kills a kernel that takes longer than 2.5 to exit."""


class Cell(NamedTuple):
    """One execution of a cell."""

    number: int
    id: str
    """The notebook's id of the cell; empty if it does not provide one."""
    source: str
    """IPython's name for the cell's code."""

    def is_rerun_of(self, other: Cell | None) -> bool:
        """Whether this is the same cell, executed again."""
        if other is None or other.number == self.number:
            return False
        return self.id == other.id if self.id and other.id else bool(self.source) and self.source == other.source


def shell() -> Any:
    """The shell of this kernel; None if this process is not a kernel, or only a child of one."""
    found = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return found if getattr(found, "kernel", None) is not None and not in_worker_process() else None


def current_cell() -> Cell | None:
    """The calling cell, on the kernel's main thread."""
    with guard("looking which cell this is"):
        running = shell()
        if running is not None:
            told = running.kernel.get_parent("shell").get("metadata", {})
            return Cell(running.execution_count, str(told.get("cellId", "")), _source(running.user_ns))
    return None


def _source(names: dict[str, Any]) -> str:
    frame, found = sys._getframe(), ""
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals is names:  # the outermost: a function of another cell may be in between
            found = frame.f_code.co_filename
    return found


def error_from_cell(cell: Cell | None, before: BaseException | None) -> BaseException | None:
    """The exception that was shown last, if this cell raised it and it is not the one that was shown `before`."""
    error: BaseException | None = getattr(sys, "last_value", None)
    trace = error.__traceback__ if error is not None and error is not before and cell is not None else None
    while trace is not None:
        if cell is not None and cell.source and trace.tb_frame.f_code.co_filename == cell.source:
            return error
        trace = trace.tb_next
    return None


class StatusPanel:
    """The lines in the cell."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._started_at = time.monotonic()
        self._display = f"tracelet-{writer.started.run}-{self._started_at}"
        self._run: Run | None = None
        self._rows: list[str] = []
        self._shown = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="tracelet-notebook", daemon=True)
        self._pid = os.getpid()

    def start(self) -> None:
        """Show the first text, and keep it up to date."""
        self._publish("running", update=False)
        self._thread.start()

    def stop(self) -> None:
        """Show the last text; nothing in a child of the kernel."""
        if self._pid == os.getpid():
            self._ended.set()
            self._thread.join(REFRESH_INTERVAL)
            self._writer.flush(REFRESH_INTERVAL)
            self._rows = self._table()
            self._publish("ended")

    def _refresh(self) -> None:
        while not self._ended.wait(REFRESH_INTERVAL):
            with guard("showing the run in the notebook"):
                rows = self._table()
                if rows != self._rows or time.monotonic() - self._shown > CLOCK_INTERVAL:
                    self._rows = rows
                    self._publish("running")

    def _publish(self, state: str, update: bool = True) -> None:
        self._shown = time.monotonic()
        minutes, seconds = divmod(int(self._shown - self._started_at), 60)
        started = self._writer.started
        head = f"tracelet: {started.name} ({started.run}) {state}, {minutes // 60}:{minutes % 60:02}:{seconds:02}"
        running = shell()
        if running is not None:
            running.display_pub.publish(
                data={"text/plain": "\n".join([head, *self._rows])}, metadata={},
                transient={"display_id": self._display}, update=update,
            )  # fmt: skip

    def _table(self) -> list[str]:
        found = [one for one in self._summaries() if not one.automatic]
        if not found:
            return []
        shown = sorted(found, key=lambda one: one.name)[:MAX_ROWS]
        width = max(len(one.name) for one in shown)
        rows = [f"  {one.name:{width}}  {one.last:<11.5g}  step {one.last_step:,}" for one in shown]
        more = len(found) - len(shown)
        return rows + [f"  {more} more: tracelet show {self._writer.started.run}"] * bool(more)

    def _summaries(self) -> list[MetricSummary]:
        """The metrics of this process or, if it has launched ranks, those of the ranks."""
        folder: Path = self._writer.path.parent
        if len(list(folder.glob("rank-*"))) > 1:
            self._run = self._run or Run(folder)
            self._run.refresh()
            return list(self._run.summaries().values())
        return list(self._writer.packer.summaries.all().values())
