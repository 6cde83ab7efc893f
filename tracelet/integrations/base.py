"""The integration interface: patches for one library, declared in a table; the base class applies and reverts them.

Patches are applied when the library's module is imported, before or after `start_logging()`. A wrapper runs on the
user's thread: it calls the original with unchanged arguments, returns its value unchanged, lets its exception pass, and
does its own work under `guard`. Results go into a `Sink`, which never blocks and never raises.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tracelet.capture.sink import Item, KeyedPoint, PlainPoint, Row, SeriesGroup, SeriesKey, Sink
from tracelet.integrations.patching import Patch, Patcher
from tracelet.store import artifacts

__all__ = ["Integration", "Item", "KeyedPoint", "PlainPoint", "Row", "SeriesGroup", "SeriesKey", "Sink"]


class JobRuns(Protocol):
    """How an integration gives each job of a sweep its own run; see `tracelet.session.job_runs`."""

    @property
    def can_split(self) -> bool:
        """Whether each job gets its own run."""

    def rename(self, suffix: str) -> None:
        """Rename this run as the first job's."""

    def next(self, suffix: str, error: BaseException | None) -> None:
        """End this run and start the next one; this integration is stopped, the next run has its own."""


class LocalSweeps(Protocol):
    """How an integration runs the sweep of its library in this process; see `tracelet.session.sweep_trials`."""

    def create(self, config: Any, project: str) -> str:
        """A new sweep with this configuration; its id. TraceletError if it cannot run here."""

    def has(self, sweep: str) -> bool:
        """Whether it has a sweep with this id."""

    def run(self, sweep: str, function: Callable[[str, Mapping[str, Any]], Any], count: int | None) -> None:
        """Call the function with the run id and the parameters of each trial."""


class Integration:
    """The base class of all integrations: applies a table of patches, and reverts every one of them."""

    name = ""

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        self.sink = sink
        self.settings = settings
        self._patcher: Patcher | None = None
        self.folder: Path | None = None
        """The run's folder, where files that belong to the run are copied to; None outside a run."""
        self.runs: JobRuns | None = None
        self.sweeps: LocalSweeps | None = None

    def patches(self) -> Iterable[Patch]:
        """The patches of this integration; called once per `start`."""
        raise NotImplementedError

    def keep(self, path: str | os.PathLike[str], name: str | None = None, kind: str | None = None) -> None:
        """Copy a small file into the run, as `Experiment.log_artifact` does; does nothing if the file does not exist.

        Copies on the calling thread.
        """
        if self.folder is not None and os.path.isfile(path):
            self.sink.emit(artifacts.store_artifact(self.folder, path, name, kind, time.time_ns() // 1000))

    def watch_resumes(self, on_checkpoint: Callable[[str], None]) -> None:
        """Before `start`: call this, on any thread, with the path of each checkpoint from which the program resumes."""

    def launch_counts(self) -> dict[str, int]:
        """The counts from which launched processes continue."""
        return {}

    def restore_counts(self, counts: Mapping[str, int]) -> None:
        """In a launched process, before `start`: continue counting from these."""

    def patch_states(self) -> list[tuple[str, str, str]]:
        """(module, target, state) of each patch while the integration is started; see `Patcher.states`."""
        return [] if self._patcher is None else self._patcher.states()

    def start(self) -> None:
        """Patch imported modules and wait for the others. Idempotent."""
        if self._patcher is None:
            self._patcher = Patcher(self.patches())
            self._patcher.apply()

    def stop(self) -> None:
        """Revert everything that `start` replaced. Idempotent."""
        patcher, self._patcher = self._patcher, None
        if patcher is not None:
            patcher.revert()
