"""One run per job, for jobs that a launcher runs one after the other in one process.

Called by integrations (Hydra's, wandb's sweeps) on the user's thread at the start of a job. Of Hydra's jobs, only a run
that `tracelet run` has started is split; a run that the program itself starts stays one run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from tracelet.capture.writer import Writer
from tracelet.journal.records import FAILED, Started
from tracelet.session.experiment import Experiment
from tracelet.settings import Settings


class SplittableSession(Protocol):
    """The session to split."""

    settings: Settings
    writer: Writer
    base_name: str
    asked_by_command: frozenset[str] | None
    experiment: Experiment

    def update_started(self, started: Started) -> None:
        """Replace the first record."""


class JobRuns:
    """What one session offers: its own run for the first job, and the next run for the next job."""

    def __init__(self, session: SplittableSession, follow: Callable[[Any, str, BaseException | None], Any]) -> None:
        self._session = session
        self._follow = follow

    @property
    def can_split(self) -> bool:
        """Whether each job may have its own run."""
        return self._session.asked_by_command is not None and self.can_split_trials

    @property
    def can_split_trials(self) -> bool:
        """Whether each trial of a sweep may have its own run, whoever started this one."""
        named = self._session.settings.run_id or self._session.settings.resume
        return not named and self._session.writer.started.world_size == 1

    @property
    def experiment(self) -> Experiment:
        """The handle of the current job's run."""
        return self._session.experiment

    def expect_failure(self, reason: str) -> None:
        """The current job has failed: so will its run, if it ends now."""
        self._session.writer.expect(FAILED, reason)

    @property
    def quiet(self) -> bool:
        """Whether nothing is to be printed."""
        return bool(self._session.settings.quiet)

    def rename(self, suffix: str) -> None:
        """Rename this run as the first job's."""
        started = self._session.writer.started
        self._session.base_name = started.name
        self._session.update_started(msgspec.structs.replace(started, name=f"{started.name}-{suffix}"))

    def next(self, suffix: str, error: BaseException | None) -> None:
        """End this run, with its job's exception if there was one, and start the next job's."""
        self._session = self._follow(self._session, suffix, error) or self._session
