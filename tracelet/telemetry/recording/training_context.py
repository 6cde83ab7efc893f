"""What the parts of a training job share: the process, the program's declarations, and the progress so far.

`training_job.TrainingJob` implements it; `throughput` and `checkpoint_saves` use it, on the training thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tracelet.guard import attempt, say
from tracelet.journal.records import Notice
from tracelet.telemetry.recording.configuration import WHOLE, TelemetryConfig, flaw
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


class UnfinishedIteration(NamedTuple):
    """An iteration that has trained the model but has not ended, because one of its callbacks saves a checkpoint."""

    iterations: int
    samples: int
    """Over all ranks."""
    duration: int
    """Nanoseconds of its training."""


@dataclass(frozen=True)
class _Failed:
    """The program's function raised this."""

    error: Exception


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
        self._refused: set[str] = set()
        """Options whose functions gave no value; each is a problem of the run once."""

    def fact(self, name: str) -> Any:
        """What the program has told of its training; None, and a problem of the run, if its function fails."""
        value = attempt(lambda: self.config.get(name), _Failed)
        if isinstance(value, _Failed):
            return self._refuse(name, f"its function raised {type(value.error).__name__}: {value.error}")
        expected = flaw(name, value)
        if expected:
            return self._refuse(name, f"its function returned {value!r}, not {expected}")
        return int(value) if name in WHOLE and value is not None else value

    def _refuse(self, name: str, why: str) -> None:
        if name in self._refused:
            return
        self._refused.add(name)
        message = f"The telemetry option {name} is not used: {why}. What depends on it is not recorded."
        say(message)
        self.recorder.sink.emit(Notice(time=self.recorder.now_ns() // 1000, code="telemetry", message=message))

    @property
    def interval(self) -> int:
        """Iterations between two training_metrics_update events."""
        return self.fact("log_every_n_train_iterations") or self._interval or DEFAULT_INTERVAL

    @property
    def world_size(self) -> int:
        """Processes of the run."""
        return int(self.fact("world_size") or self.process.world_size)

    @abstractmethod
    def flush_pending(self) -> None:
        """Count the iterations that have ended since the last window."""

    @abstractmethod
    def productive(self, unfinished: UnfinishedIteration | None = None) -> dict[str, Any]:
        """What the checkpoint events say about the progress so far."""

    @abstractmethod
    def goodput(self, now_ns: int) -> float:
        """The share of the time since the application began in which the model was trained."""
