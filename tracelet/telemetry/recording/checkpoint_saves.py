"""Counts checkpoint saves: attempts, successes, time spent, and the training's progress at each.

Called on the thread that saves and, for asynchronous saves, on the thread that finishes the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tracelet.telemetry.names import SAVE_METRICS, SAVE_SUCCESS
from tracelet.telemetry.recording.duration_stats import NANO, DurationStats
from tracelet.telemetry.recording.span_recorder import ActiveSpan
from tracelet.telemetry.recording.training_context import TrainingContext, UnfinishedIteration


class CheckpointSaves:
    """The checkpoint saves of one process."""

    def __init__(self, job: TrainingContext) -> None:
        self._job = job
        self.attempts = 0
        self.successes = self.failures = 0
        self.durations = DurationStats()
        """How long saves have blocked the training."""
        self._first_success: float | None = None
        self._progress: dict[int, dict[str, object]] = {}

    def started(self, step: int, strategy: str, unfinished: UnfinishedIteration | None = None) -> dict[str, Any]:
        """The attributes of the span of a save that begins now, inside an iteration or not."""
        self.attempts += 1
        self._job.flush_pending()
        self._progress[step] = self._job.productive(unfinished)
        return {
            "checkpoint_strategy": strategy, "current_iteration": step, "save_checkpoint_attempt_count": self.attempts,
        }  # fmt: skip

    def succeeded(
        self, step: int, strategy: str, span: ActiveSpan | int | None, path: str = "", time_ns: int | None = None
    ) -> None:
        """The file exists."""
        moment = time_ns or self._job.recorder.now_ns()
        seconds = moment / NANO
        self.successes += 1
        if self._first_success is None:
            self._first_success = seconds
        attributes: dict[str, Any] = {
            "checkpoint_strategy": strategy, "current_iteration": step,
            "first_successful_save_checkpoint_timestamp_sec": self._first_success,
            "latest_successful_save_checkpoint_timestamp_sec": seconds,
            "save_checkpoint_success_count": self.successes,
            **(self._progress.pop(step, {}) or self._job.productive()),
            "goodput": self._job.goodput(moment),
        }  # fmt: skip
        if path:
            attributes["checkpoint_directory"] = os.path.dirname(path)
            size = size_of(path)
            if size is not None:
                attributes["checkpoint_size"] = size
        self._job.recorder.event(SAVE_SUCCESS, attributes, span=span, time_ns=moment)

    def ended(self, span: ActiveSpan, duration_ns: int, time_ns: int | None = None) -> None:
        """The training continues: report the cost of saves so far."""
        self.durations.add(duration_ns)
        total, mean = self.durations.total / NANO, self.durations.mean
        attributes = {
            "save_checkpoint_sync_time_total_sec": total,
            "save_checkpoint_sync_time_min_sec": self.durations.min / NANO,
            "save_checkpoint_sync_time_max_sec": self.durations.max / NANO,
            "save_checkpoint_sync_time_avg_sec": mean,
        }
        settled = self.successes + self.failures  # asynchronous saves settle later
        if settled:
            attributes["save_checkpoint_success_rate"] = self.successes / settled
        self._job.recorder.event(SAVE_METRICS, attributes, span=span, time_ns=time_ns)

    def forget(self, step: int) -> None:
        """The save of this step failed."""
        self.failures += 1
        self._progress.pop(step, None)


def size_of(path: str) -> int | None:
    """Bytes of a local file or folder; None for a remote one."""
    if "://" in path:
        return None
    try:
        if os.path.isdir(path):
            return sum(os.path.getsize(Path(process) / name) for process, _, names in os.walk(path) for name in names)
        return os.path.getsize(path)
    except OSError:
        return None
