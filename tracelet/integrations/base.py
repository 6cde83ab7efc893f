"""What an integration is: patches for one library, declared in a table, applied and reverted by the base class.

Patches are applied when the library's module is imported, be that before or after `start_logging()`. A wrapper runs
on the user's thread: it calls the original with the very same arguments, returns its very value, lets its exception
pass, and does our part under `guard`. What it finds goes into a `Sink`, which never blocks and never raises.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from tracelet.capture.sink import Item, KeyedPoint, PlainPoint, Row, SeriesGroup, SeriesKey, Sink
from tracelet.integrations.patching import Patch, Patcher
from tracelet.store import artifacts

__all__ = ["Integration", "Item", "KeyedPoint", "PlainPoint", "Row", "SeriesGroup", "SeriesKey", "Sink"]


class JobRuns(Protocol):
    """How an integration gives each job of a sweep a run of its own; see `tracelet.session.job_runs`."""

    @property
    def divisible(self) -> bool:
        """Whether that is wanted."""

    def rename(self, suffix: str) -> None:
        """This run is the first job's."""

    def next(self, suffix: str, error: BaseException | None) -> None:
        """End this run and start the next one; this integration is stopped, the next run has one of its own."""


class Integration:
    """The base of all integrations: arms a table of patches, and takes every one of them back."""

    name = ""

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        self.sink = sink
        self.settings = settings
        self._patcher: Patcher | None = None
        self.folder: Path | None = None
        """The run's folder, where files that belong to the run are copied to; None outside a run."""
        self.runs: JobRuns | None = None

    def patches(self) -> Iterable[Patch]:
        """The patches of this integration; called once for each `start`."""
        raise NotImplementedError

    def keep(self, path: str | os.PathLike[str], name: str | None = None, kind: str | None = None) -> None:
        """Copy a small file into the run, as `Experiment.log_artifact` does; nothing happens if there is no such file.

        Copies on the calling thread.
        """
        if self.folder is not None and os.path.isfile(path):
            self.sink.emit(artifacts.store_artifact(self.folder, path, name, kind, time.time_ns() // 1000))

    def watch_resumes(self, on_checkpoint: Callable[[str], None]) -> None:
        """Before `start`: call this, on any thread, with the path of each checkpoint that the program goes on from."""

    def launch_counts(self) -> dict[str, int]:
        """What processes that this one launches have to go on counting from."""
        return {}

    def restore_counts(self, counts: Mapping[str, int]) -> None:
        """In a launched process, before `start`: go on counting from there."""

    def start(self) -> None:
        """Patch what is imported and wait for the rest. Calling it twice changes nothing."""
        if self._patcher is None:
            self._patcher = Patcher(self.patches())
            self._patcher.apply()

    def stop(self) -> None:
        """Put back everything that `start` replaced. Calling it twice changes nothing."""
        patcher, self._patcher = self._patcher, None
        if patcher is not None:
            patcher.revert()
