"""One run per job, for jobs that a launcher runs one after the other in one process.

Called by integrations (Hydra's) on the user's thread at the start of a job. Only a run that `tracelet run` has started
is split; a run that the program itself starts stays one run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from tracelet.capture.writer import Writer
from tracelet.journal.records import Started
from tracelet.settings import Settings


class SplittableSession(Protocol):
    """The session to split."""

    settings: Settings
    writer: Writer
    base_name: str
    asked_by_command: frozenset[str] | None

    def update_started(self, started: Started) -> None:
        """Replace the first record."""


class JobRuns:
    """What one session offers: its own run for the first job, and the next run for the next job."""

    def __init__(self, session: SplittableSession, follow: Callable[[Any, str, BaseException | None], None]) -> None:
        self._session = session
        self._follow = follow

    @property
    def can_split(self) -> bool:
        """Whether each job may have its own run."""
        session, started = self._session, self._session.writer.started
        named = session.settings.run_id or session.settings.resume
        return session.asked_by_command is not None and not named and started.world_size == 1

    def rename(self, suffix: str) -> None:
        """Rename this run as the first job's."""
        started = self._session.writer.started
        self._session.base_name = started.name
        self._session.update_started(msgspec.structs.replace(started, name=f"{started.name}-{suffix}"))

    def next(self, suffix: str, error: BaseException | None) -> None:
        """End this run, with its job's exception if there was one, and start the next job's."""
        self._follow(self._session, suffix, error)
