"""Training metrics over time: iterations, samples, tokens and operations, per window and since the process started.

An iteration is appended as (begin, end, samples, marks) and kept until its window ends, so that a step pays for one
`append`. The arithmetic runs once per window, on the training thread, over whole columns.
"""

from __future__ import annotations

from typing import Any

from tracelet.telemetry.names import (
    COLLECTIVE_WAIT,
    DATA_LOADING,
    MODEL_BACKWARD,
    MODEL_FORWARD,
    OPTIMIZER_UPDATE,
    TRAINING_METRICS,
    ZERO_GRAD,
)
from tracelet.telemetry.recording.duration_stats import NANO, DurationStats
from tracelet.telemetry.recording.iteration_times import Iteration, phase_sums, step_durations
from tracelet.telemetry.recording.peak_flops import peak_of
from tracelet.telemetry.recording.span_recorder import ActiveSpan
from tracelet.telemetry.recording.token_counts import TokenCounts
from tracelet.telemetry.recording.training_context import DEFAULT_INTERVAL, TrainingContext
from tracelet.telemetry.recording.wait_times import WaitTimes

PRODUCTIVE = (MODEL_FORWARD, MODEL_BACKWARD, ZERO_GRAD, OPTIMIZER_UPDATE)
"""The phases that move the model forward; waiting for data, hooks and logging do not."""
TERA = 1e12


class TrainingThroughput:
    """The training iterations of one process, over all its fits but the trials of tuners."""

    def __init__(self, job: TrainingContext) -> None:
        self._job = job
        self.pending: list[Iteration] = []
        """Iterations of the present window. The Lightning integration appends here by itself."""
        self.report_at = DEFAULT_INTERVAL
        """The length of `pending` at which a report is due."""
        self.span: ActiveSpan | None = None
        self.started_ns = 0
        self.durations = DurationStats()
        self.window = DurationStats()
        self.productive_ns = 0
        self.device = ""
        """The accelerator's name, for its peak."""
        self.measured_flops: float | None = None
        """Operations of one sample, if they were measured."""
        self._phases = dict.fromkeys((DATA_LOADING, COLLECTIVE_WAIT, *PRODUCTIVE), 0)
        self._window_phases = dict(self._phases)
        self._samples = self._window_samples = 0
        self.token_counts = TokenCounts()
        self._tokens = self._window_tokens = 0
        self.waits = WaitTimes()
        self._iterations_start = self._samples_start = 0
        self._earlier_iterations = 0
        """Those of this process's earlier loops, which the present loop's start already contains."""
        self._earlier_samples = 0
        self._throughputs: list[float] = []
        self._first_end = self._last_end = 0
        self._reported_count = 0

    @property
    def iterations_overall(self) -> int:
        """Iterations since the beginning of the training, earlier processes included."""
        return self._iterations_start + self.durations.count - self._earlier_iterations

    @property
    def samples_overall(self) -> int:
        """Samples since the beginning of the training, over all ranks."""
        return self._samples_start + self._samples - self._earlier_samples

    @property
    def flops_per_sample(self) -> float | None:
        """As the program declares, or as measured."""
        if self._job.fact("is_log_throughput_enabled") is False:
            return None
        told = self._job.fact("flops_per_sample")
        return float(told) if told else self.measured_flops

    @property
    def operations_overall(self) -> int | None:
        """Floating-point operations since the beginning of the training."""
        per_sample = self.flops_per_sample
        return None if per_sample is None else round(self.samples_overall * per_sample)

    def begin_loop(
        self,
        iterations_start: int,
        samples_start: int | None = None,
        iterations_target: int | None = None,
        samples_target: int | None = None,
        likely_target: int | None = None,
    ) -> dict[str, Any]:
        """A training loop begins: the attributes of its span. `likely_target`: if the program tells no target."""
        self._job.catch_up()
        fact = self._job.fact
        batch = int(fact("global_batch_size") or 0)
        self._earlier_iterations, self._earlier_samples = self.durations.count, self._samples
        self._iterations_start = iterations_start
        self._samples_start = iterations_start * batch if samples_start is None else samples_start
        iterations_target = iterations_target or fact("train_iterations_target") or likely_target
        samples_target = samples_target or fact("train_samples_target")
        length = fact("seq_length")
        attributes: dict[str, Any] = {
            "train_iterations_start": iterations_start, "train_samples_start": self._samples_start,
        }  # fmt: skip
        if self.operations_overall is not None:
            attributes["completed_floating_point_operations_overall"] = self.operations_overall
        for name, value in (("train_iterations_target", iterations_target), ("train_samples_target", samples_target)):
            if value:
                attributes[name] = int(value)
        if length and samples_target:
            attributes["train_tokens_target"] = int(length) * int(samples_target)
        return attributes

    def loop_started(self, span: ActiveSpan) -> None:
        """The loop's span is open."""
        self.span = span
        self.token_counts.enabled = self._job.fact("seq_length") is None
        self.started_ns = self.started_ns or span.start_ns
        self.schedule_report()

    def add_iteration(self, start_ns: int, end_ns: int, samples: int = 0, tokens: int = 0) -> None:
        """Take one iteration that was timed by hand, in times since the epoch; reports throughput when a window is
        full.
        """
        origin = self._job.recorder.origin_ns
        self.pending.append((start_ns - origin, end_ns - origin, samples, []))
        if tokens:
            self.token_counts.record(start_ns - origin, tokens, samples)
        if len(self.pending) >= self.report_at:
            self.report(time_ns=end_ns)

    def add_phase(self, name: str, duration: int) -> None:
        """Take a phase that was timed by hand."""
        if name in self._phases:
            self._phases[name] += duration
            self._window_phases[name] += duration

    def schedule_report(self) -> None:
        """Compute how many iterations the current window still takes: reports come at multiples of the interval."""
        interval = self._job.interval
        self.report_at = interval - self.iterations_overall % interval

    def flush_pending(self) -> None:
        """Take what is pending into the sums."""
        self._job.catch_up()
        pending = self.pending[:]
        self.pending.clear()
        if not pending:
            return
        durations = step_durations(pending)
        self.durations.extend(durations)
        self.window.extend(durations)
        batch = int(self._job.fact("global_batch_size") or 0)
        ranks = self._job.process.world_size
        tokens, known = self.token_counts.pop([begin for begin, *_ in pending])
        samples = sum((item[2] or known.get(item[0], 0)) * ranks or batch for item in pending)
        self._samples += samples
        self._window_samples += samples
        self._tokens += tokens * ranks
        self._window_tokens += tokens * ranks
        phases = phase_sums(pending)
        for name, waited in self.waits.pop(pending).items():
            phases[name] = phases.get(name, 0) + waited
        for name in self._phases:
            self._phases[name] += phases.get(name, 0)
            self._window_phases[name] += phases.get(name, 0)
        measured = sum(phases.get(name, 0) for name in PRODUCTIVE)
        # An iteration without phases was timed by hand: all of it is taken as training.
        self.productive_ns += measured + sum(end - begin for begin, end, _, marks in pending if not marks)
        origin = self._job.recorder.origin_ns
        self.schedule_report()
        self._first_end = self._first_end or pending[0][1] + origin
        self._last_end = pending[-1][1] + origin

    def report(self, loss: Any = None, tail: bool = False, time_ns: int | None = None) -> None:
        """Emit the window's metrics as an event on the loop's span, and begin a new window."""
        self.flush_pending()
        if self.durations.count == self._reported_count:
            return
        self._reported_count = self.durations.count
        moment = time_ns or self._job.recorder.now_ns()
        attributes = self._cumulative_metrics(moment) | self._window_metrics()
        if loss is not None:
            attributes["latest_loss"] = loss
        if tail:
            attributes["tail"] = True
        self._job.recorder.event(TRAINING_METRICS, attributes, span=self.span, time_ns=moment)
        self.window = DurationStats()
        self._window_phases = dict.fromkeys(self._window_phases, 0)
        self._window_samples = self._window_tokens = 0

    def end_loop(self, loss: Any = None, time_ns: int | None = None) -> None:
        """The loop ends: report the incomplete last window."""
        self.report(loss, tail=True, time_ns=time_ns)
        self.span = None

    def _cumulative_metrics(self, moment: int) -> dict[str, Any]:
        count = self.durations.count
        seconds = self.durations.total / NANO
        found: dict[str, Any] = {
            "train_iterations_start": self._iterations_start, "current_iteration": self.iterations_overall - 1,
            "num_iterations": count, "train_samples_start": self._samples_start, "num_train_samples": self._samples,
            "interval": self._job.interval, **self.durations.seconds("iteration_time"),
            "first_logged_train_iterations_finish_timestamp_sec": self._first_end / NANO,
            "last_logged_train_iterations_finish_timestamp_sec": self._last_end / NANO,
            "goodput": self._job.goodput(moment), "productive_sec": self.productive_ns / NANO,
        }  # fmt: skip
        found.update(_averages(self._phases, count, ""))
        found.update(_rates(self._samples, self._token_count(self._tokens, self._samples), count, seconds, ""))
        per_sample = self.flops_per_sample
        if per_sample is not None and seconds:
            rate = self._samples * per_sample / (seconds * TERA * self._job.world_size)
            self._throughputs = [min([rate, *self._throughputs]), max([rate, *self._throughputs])]
            found.update(
                completed_floating_point_operations_overall=self.operations_overall,
                total_flops=round(self._samples * per_sample), train_throughput_per_gpu=rate, avg_tflops=rate,
                train_throughput_per_gpu_min=self._throughputs[0], train_throughput_per_gpu_max=self._throughputs[-1],
                **self._utilization(rate, ""),
            )  # fmt: skip
        return found

    def _window_metrics(self) -> dict[str, Any]:
        window, seconds = self.window, self.window.total / NANO
        found: dict[str, Any] = {
            "window_iterations": window.count, "window_samples": self._window_samples, **{
                f"window_{name}": value for name, value in window.seconds("iteration_time").items()
            },
        }  # fmt: skip
        found.update(_averages(self._window_phases, window.count, "window_"))
        tokens = self._token_count(self._window_tokens, self._window_samples)
        found.update(_rates(self._window_samples, tokens, window.count, seconds, "window_"))
        per_sample = self.flops_per_sample
        if per_sample is not None and seconds:
            rate = self._window_samples * per_sample / (seconds * TERA * self._job.world_size)
            found.update(window_tflops=rate, **self._utilization(rate, "window_"))
        return found

    def _token_count(self, counted: int, samples: int) -> int:
        """Tokens of these samples: by the declared length, or else as counted."""
        length = self._job.fact("seq_length")
        return counted if length is None else samples * int(length)

    def _utilization(self, teraflops: float, prefix: str) -> dict[str, float]:
        peak = self._job.fact("peak_flops") or peak_of(self.device)
        return {f"{prefix}mfu": teraflops * TERA / peak} if peak else {}


def _averages(phases: dict[str, int], count: int, prefix: str) -> dict[str, float]:
    """Seconds of one iteration; only of phases that were seen."""
    spoken = {
        DATA_LOADING: "dataloader", MODEL_FORWARD: "forward", MODEL_BACKWARD: "backward", OPTIMIZER_UPDATE: "optimizer",
        COLLECTIVE_WAIT: "collective_wait",
    }  # fmt: skip
    return {
        f"{prefix}avg_{word}_time_sec": phases[name] / count / NANO
        for name, word in spoken.items()
        if phases[name] and count
    }


def _rates(samples: int, tokens: int, count: int, seconds: float, prefix: str) -> dict[str, Any]:
    """Batch size, samples and tokens per second of the training iterations' own time."""
    if not samples or not seconds:
        return {}
    found: dict[str, Any] = {
        f"{prefix}avg_batch_size": samples / count, f"{prefix}samples_per_second": samples / seconds,
    }  # fmt: skip
    if tokens:
        found[f"{prefix}train_tokens"] = tokens
        found[f"{prefix}avg_tokens_per_second"] = tokens / seconds
        found[f"{prefix}avg_seq_length"] = tokens / samples
    return found
