"""The fields of a run in a list of runs. Created by `Run.info`; pure."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tracelet import guard
from tracelet.journal.records import RUNNING, Started, Status
from tracelet.store.annotations import Annotations


@dataclass(frozen=True)
class RunInfo:
    """One run in a list. Times are seconds since the epoch; `ended` is None while the run is running."""

    id: str
    name: str
    """The name given in the dashboard, if any."""
    project: str
    status: str
    reason: str
    started: float
    ended: float | None
    host: str
    pid: int
    world_size: int
    command: tuple[str, ...]
    folder: str
    version: str
    resumed_from: str
    backends: tuple[str, ...]
    original_name: str
    """The name at the start of the run."""
    pinned: bool
    """Whether it is pinned to the top of lists."""
    archived: bool = False
    """Whether lists leave it out."""

    @property
    def own_name(self) -> str:
        """Deprecated name of `original_name`."""
        guard.renamed("info.own_name", "info.original_name")
        return self.original_name

    @property
    def duration(self) -> float:
        """Seconds from the start to the end, or to now."""
        return (self.ended or time.time()) - self.started


def make_info(
    run_id: str, first: Started, last: Started, status: Status, world_size: int, annotations: Annotations
) -> RunInfo:
    """Combine the first process, the most complete one, the run's status, and its annotations."""
    return RunInfo(
        id=run_id, name=annotations.name or last.name, project=last.project, status=status.status, reason=status.reason,
        started=first.time / 1e6, ended=None if status.status == RUNNING else status.time / 1e6, host=last.host,
        pid=last.pid, world_size=world_size, command=tuple(last.command), folder=last.folder,
        version=last.version, resumed_from=first.resumed_from, backends=tuple(last.backends),
        original_name=last.name, pinned=annotations.pinned, archived=annotations.archived,
    )  # fmt: skip
