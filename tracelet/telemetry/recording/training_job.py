"""What is counted about the training of one process: iterations, samples, operations, evaluations, checkpoints,
goodput.

Fed by the Lightning integration and by the explicit callbacks, on the thread that trains; makes the events and
attributes that users of nv-one-logger know. Costs the same per iteration at the beginning and after a million.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tracelet._version import __version__
from tracelet.telemetry.names import CONFIG_EVENT, INITIALIZATION_EVENT, TESTING_METRICS, VALIDATION_METRICS
from tracelet.telemetry.recording.checkpoint_saves import CheckpointSaves
from tracelet.telemetry.recording.configuration import BASE, TelemetryConfig, pop_saved
from tracelet.telemetry.recording.duration_stats import NANO, DurationStats
from tracelet.telemetry.recording.span_recorder import ActiveSpan, SpanRecorder
from tracelet.telemetry.recording.throughput import TrainingThroughput
from tracelet.telemetry.recording.training_context import ProcessInfo, TrainingContext, UnfinishedIteration


class EvaluationDurations:
    """The validations, or the tests, of one process."""

    def __init__(self, recorder: SpanRecorder, event: str, training: TrainingThroughput) -> None:
        self._recorder = recorder
        self._event = event
        self._training = training
        self.durations = DurationStats()
        self._told = 0
        """Training iterations at the end of the evaluation before."""
        self._batches_told = 0

    def ended(self, span: ActiveSpan | None, time_ns: int | None = None) -> None:
        """Tell what the evaluation that ends here did."""
        self._training.flush_pending()
        trained = self._training.iterations_overall
        attributes: dict[str, Any] = {
            "current_iteration": max(0, trained - 1),
            "interval": max(0, trained - self._told),
            "batches": self.durations.count - self._batches_told,
            **self.durations.seconds("iteration_time"),
        }
        self._told, self._batches_told = trained, self.durations.count
        self._recorder.event(self._event, attributes, span=span, time_ns=time_ns)


class TrainingJob(TrainingContext):
    """The training of one process, from the application's start to its end."""

    def __init__(self, recorder: SpanRecorder, process: ProcessInfo, interval: int | None) -> None:
        told = pop_saved()
        super().__init__(recorder, process, TelemetryConfig().with_changes(told), interval)
        self._told_before = bool({name.removesuffix("_or_fn") for name in told} - {*BASE, "custom_metadata"})
        self._told_late: set[str] = set()
        """What the program has said of the run after `one_logger_initialization`."""
        self.training = TrainingThroughput(self)
        self.validation = EvaluationDurations(recorder, VALIDATION_METRICS, self.training)
        self.testing = EvaluationDurations(recorder, TESTING_METRICS, self.training)
        self.saves = CheckpointSaves(self)

    def goodput(self, now_ns: int) -> float:
        """The share of the time since the application began in which the model was trained."""
        if self.application is None or now_ns <= self.application.start_ns:
            return 0.0
        return min(1.0, self.training.productive_ns / (now_ns - self.application.start_ns))

    def report_start(self, application: ActiveSpan) -> None:
        """Say which process of which run this is."""
        self.application = application
        config, fact = self.config, self.fact
        attributes = {
            "world_size": self.world_size,
            "one_logger_training_telemetry_version": f"tracelet {__version__}",
            "enable_for_current_rank": True,
            "session_tag": str(fact("session_tag") or self.process.run),
            "is_baseline_run": bool(fact("is_baseline_run")),
            "summary_data_schema_version": config.summary_data_schema_version,
            "node_name": self.process.host,
            "rank": self.process.rank,
            "application_name": config.application_name or self.process.name,
            "pid": os.getpid(),
            **self._metadata(),
        }
        self.recorder.event(INITIALIZATION_EVENT, attributes, span=application, time_ns=application.start_ns)
        if self._told_before:
            self._report_config()

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Take over what the program tells about its training."""
        self.training.flush_pending()
        self.config = self.config.with_changes(changes)
        self.training.schedule_report()
        self._told_late |= {name.removesuffix("_or_fn") for name in changes} & set(BASE)
        self._report_config()

    def _report_config(self) -> None:
        config = self.config
        attributes: dict[str, Any] = {"log_every_n_train_iterations": self.interval}
        for name in (
            "perf_tag", "global_batch_size", "micro_batch_size", "seq_length", "flops_per_sample",
            "train_iterations_target",
            "train_samples_target", "is_train_iterations_enabled", "is_validation_iterations_enabled",
            "is_test_iterations_enabled", "is_save_checkpoint_enabled", "is_log_throughput_enabled",
            *sorted(self._told_late),
        ):  # fmt: skip
            value = self.fact(name)
            if value is not None:
                attributes[name] = value
        attributes["checkpoint_strategy"] = config.save_checkpoint_strategy
        attributes.update(self._metadata())
        self.recorder.event(CONFIG_EVENT, attributes, span=self.application)

    def flush_pending(self) -> None:
        """Count the iterations that have ended since the last window."""
        self.training.flush_pending()

    def productive(self, unfinished: UnfinishedIteration | None = None) -> dict[str, Any]:
        """What the checkpoint events say about the progress so far."""
        training = self.training
        iterations, samples, duration = unfinished or UnfinishedIteration(0, 0, 0)
        found: dict[str, Any] = {
            "productive_train_iterations": training.iterations_overall + iterations,
            "productive_train_samples": training.samples_overall + samples,
            "productive_train_iterations_sec": (training.durations.total + duration) / NANO,
            "productive_validation_iterations_sec": self.validation.durations.total / NANO,
        }
        if training.operations_overall is not None:
            found["productive_train_tflops"] = training.operations_overall / 1e12
        if training.started_ns:
            found["training_start_timestamp_sec"] = training.started_ns / NANO
        return found

    def _metadata(self) -> dict[str, Any]:
        custom = [f"{name}:{value}" for name, value in (self.fact("custom_metadata") or {}).items()]
        return {"custom_metadata": custom} if custom else {}
