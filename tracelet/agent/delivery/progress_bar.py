"""A terminal progress bar for a delivery the user waits for: at the end of a run, and in `tracelet sync`."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


class ProgressBar:
    """`with ProgressBar("what", fraction) as show:`; call `show()` repeatedly."""

    def __init__(self, title: str, fraction: Callable[[], float]) -> None:
        self._fraction = fraction
        self._progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
            console=Console(stderr=True), transient=True, auto_refresh=False,
        )  # fmt: skip
        self._task = self._progress.add_task(title, total=1.0)

    def __enter__(self) -> Callable[[], None]:
        self._progress.start()
        return self._show

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def _show(self) -> None:
        self._progress.update(self._task, completed=self._fraction())
        self._progress.refresh()
