"""Ranks that never call `start_logging()`: what a launched process receives so that it records to the same run.

In the launching process the session wraps the function that `torch.multiprocessing` starts in each rank. In the rank,
on its main thread, the wrapper attaches to the run, calls the function, and leaves the run when it returns or raises.
The configuration travels with the function, so no environment variable is set; it holds no credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tracelet.capture.clock import now
from tracelet.capture.writer import Writer
from tracelet.guard import guard
from tracelet.journal.records import Started
from tracelet.journal.run_folder import create_journal
from tracelet.redaction.known_secrets import redact
from tracelet.session.rank_environment import identify
from tracelet.settings import Settings

CarriedCounts = Mapping[str, Mapping[str, int]]
"""Integration to its counts."""
RANK_SETTINGS = {"delivery": "off", "track_system": False, "track_git": False, "track_env": False, "quiet": True}
"""Settings that the launching process applies for all its ranks."""


@dataclass(frozen=True)
class LaunchedRankConfig:
    """The data with which a launched process joins the run."""

    folder: Path
    journal: str
    started: Started
    """The launching process's first record."""
    settings: Settings
    carried_counts: CarriedCounts
    count: int
    """The number of processes launched together."""

    def open_writer(self, index: int, known: tuple[int, int] | None = None) -> Writer:
        """Open the journal of the process with this number, or with this rank and world size. Raises OSError."""
        parent, me = self.started, identify()
        rank, world = known or (index + parent.node_rank * self.count, max(self.count, parent.world_size))
        journal, attempt = create_journal(self.folder, f"rank-{rank}", redact)
        started = msgspec.structs.replace(
            parent, time=now(), host=me.host, pid=me.pid, process_started=me.process_started, rank=rank,
            local_rank=index, world_size=world, attempt=attempt, parent=self.journal, backends={},
            process_age=0.0,
        )  # fmt: skip
        writer = Writer(journal, started, self.settings.flush_interval)
        writer.start()
        return writer


def inherited_settings(settings: Settings) -> Settings:
    """The settings of a launched process: its own metrics and spans, and nothing that is done once per run or host."""
    return Settings({**settings, **RANK_SETTINGS}, dict(settings.sources), {})


Attach = Callable[[LaunchedRankConfig, int], AbstractContextManager[Any]]
"""Makes this process record as the rank with this number; pickled by name, so it must be a module-level function."""


class RankFunction:
    """The function of a launched process: called there instead of the user's, which it calls."""

    def __init__(self, function: Any, rank_config: LaunchedRankConfig, attach: Attach) -> None:
        self.function = function
        self.rank_config = rank_config
        self.attach = attach

    def __call__(self, index: int, *args: Any) -> Any:
        """Join the run, call the function, leave the run."""
        joined: AbstractContextManager[Any] = nullcontext()
        with guard("recording a launched rank"):
            joined = self.attach(self.rank_config, index)
        with joined:
            return self.function(index, *args)
