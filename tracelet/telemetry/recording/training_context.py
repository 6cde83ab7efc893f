"""What the parts of a training job share: the process, the program's declarations, and the progress so far.

`training_job.TrainingJob` implements it; `throughput` and `checkpoint_saves` use it, on the training thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tracelet.telemetry.recording.configuration import TelemetryConfig
from tracelet.telemetry.recording.span_recorder import ActiveSpan, SpanRecorder

DEFAULT_INTERVAL = 50
"""Iterations between two training_metrics_update events, as nv-one-logger has it."""


@dataclass(frozen=True)
class ProcessInfo:
    """Where this process stands in the run."""

    rank: int = 0
    world_size: int = 1
    host: str = ""
    run: str = ""
    name: str = ""


class TrainingContext(ABC):
    """One training process as its counters see it."""

    def __init__(
        self, recorder: SpanRecorder, process: ProcessInfo, config: TelemetryConfig, interval: int | None
    ) -> None:
        self.recorder = recorder
        self.process = process
        self.config = config
        self._interval = interval
        self.application: ActiveSpan | None = None
        self.catch_up: Callable[[], None] = lambda: None
        """Counts the iterations that the calling thread has only noted so far; an integration that makes spans of many
        notes at once replaces it.
        """

    @property
    def interval(self) -> int:
        """Iterations between two training_metrics_update events."""
        return self.config.log_every_n_train_iterations or self._interval or DEFAULT_INTERVAL

    @property
    def world_size(self) -> int:
        """Processes of the run."""
        return int(self.config.get("world_size") or self.process.world_size)

    @abstractmethod
    def flush_pending(self) -> None:
        """Count the iterations that have ended since the last window."""

    @abstractmethod
    def productive(self) -> dict[str, Any]:
        """What the checkpoint events say about the progress so far."""

    @abstractmethod
    def goodput(self, now_ns: int) -> float:
        """The share of the time since the application began in which the model was trained."""
