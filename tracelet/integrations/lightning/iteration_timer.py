"""The current iteration of one of Lightning's loops: the end times of its phases.

Called on the training thread, several times in every iteration, by the wrappers of the loops and of `iteration_phases`;
this is the hottest code of the spans. It only reads the clock and appends to a list; names, ids, sums and packing come
later, once per window or on the writer thread. Phases are contiguous: each begins where the previous one ended, so the
phases cover the whole iteration.
"""

from __future__ import annotations

import threading
from time import perf_counter_ns
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.lightning.cuda_timing import DeviceClock
from tracelet.integrations.tensor_values import samples_of
from tracelet.journal.records import Span
from tracelet.telemetry.names import (
    BATCH_TRANSFER,
    CALLBACKS,
    DATA_LOADING,
    METRIC_LOGGING,
    MODEL_FORWARD,
    TRAINING_ITERATION,
)
from tracelet.telemetry.recording.duration_stats import DurationStats
from tracelet.telemetry.recording.open_iterations import RunningIteration, following
from tracelet.telemetry.recording.span_recorder import SpanRecorder, describe_error
from tracelet.telemetry.recording.training_job import TrainingJob

BATCH_START_HOOKS = frozenset(
    {"on_train_batch_start", "on_validation_batch_start", "on_test_batch_start", "on_predict_batch_start"}
)
BATCH_END_HOOKS = frozenset(
    {"on_train_batch_end", "on_validation_batch_end", "on_test_batch_end", "on_predict_batch_end"}
)
INNER_HOOKS = frozenset({"on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"})
"""Callback hooks inside a phase."""
MIN_HOOK_NS = 1_000_000
"""Nanoseconds from which such a hook is a separate span inside its phase."""
NEGLIGIBLE = 20_000
"""Nanoseconds of the user's code between two phases of a manual optimization that are no phase of their own: nothing
is computed in 20 us."""


class IterationTimer:
    """The current iteration of one loop. One object serves all iterations of the loop."""

    def __init__(
        self,
        name: str,
        recorder: SpanRecorder,
        job: TrainingJob | None,
        trial: bool = False,
        clock: DeviceClock | None = None,
    ) -> None:
        self.name = name
        self.clock = clock
        """The GPU's clock, if the model trains on one."""
        self.marks: list[Any] = []
        self.begin = 0
        self.samples = 0
        self.measuring = 0
        """At 1 the next iteration's operations are counted, above it a later one's; see `TrainingLoop`."""
        self.manual = False
        self.loss: Any = None
        """The loss of the last batch, or whatever its step returned; read at the end of a window."""
        self.training = job.training if job is not None and name == TRAINING_ITERATION and not trial else None
        self.durations: DurationStats | None = None
        """Receives the durations of an evaluation's iterations."""
        self._opened = False
        self._recorder = recorder
        self._emit = recorder.sink.emit
        self._reserve_id = recorder.reserve_id
        self._thread = threading.get_ident()
        self._stack = recorder.stack
        self._placeholder = recorder.placeholder(name)
        self._parent = self._stack[-1].id if self._stack else recorder.root
        self._origin = recorder.origin_ns
        recorder.loops.append(self)

    def close(self) -> None:
        """The loop is over."""
        if self in self._recorder.loops:
            self._recorder.loops.remove(self)

    def running_iteration(self) -> RunningIteration | None:
        """See `open_iterations.Loop`; called on the writer's thread."""
        number, begin, marks = self._placeholder.id, self.begin, tuple(self.marks)
        if self._placeholder not in self._stack or number != self._placeholder.id or len(marks) % 2:
            return None
        return RunningIteration(
            self.name, number, self._parent, begin, self._thread, marks, following(marks, self.manual)
        )

    def start(self) -> None:
        """The iteration begins: its batch is requested."""
        self._placeholder.id = self._reserve_id()
        self._stack.append(self._placeholder)
        self.samples = 0
        self._opened = False
        if self.clock is not None:
            self.clock.collect()
        self.begin = perf_counter_ns()

    @property
    def opened(self) -> bool:
        """Whether the batch has arrived and its first hooks have run."""
        return self._opened

    @property
    def batch_unused(self) -> bool:
        """Whether nothing used the batch afterwards."""
        return self._opened and self.marks[-2] == CALLBACKS

    def phase_finished(self) -> None:
        """A phase has ended: mark it on the device's clock."""
        if self.clock is not None:
            self.clock.mark(len(self.marks) // 2 - 1)

    def user_code_finished(self) -> None:
        """The user's own step enters one of our phases: the time before belongs to the model."""
        now, marks = perf_counter_ns(), self.marks
        if marks and now - marks[-1] < NEGLIGIBLE and marks[-2] not in (DATA_LOADING, CALLBACKS):
            marks[-1] = now
        else:
            marks += MODEL_FORWARD, now
            self.phase_finished()

    def callbacks_finished(self, hook: str, began: int, args: tuple[Any, ...]) -> None:
        """The callbacks of one hook have run: separate their time from that of the phase around them."""
        now, marks = perf_counter_ns(), self.marks
        if hook in INNER_HOOKS:
            # Recorded only if it took long. The phase that it interrupts has no mark yet, but its number is known.
            phase = self._placeholder.id + len(marks) // 2 + 1
            self._recorder.add(CALLBACKS, began + self._origin, now - began, phase, {"hook": hook})
        elif hook in BATCH_START_HOOKS:
            marks += BATCH_TRANSFER, began, CALLBACKS, now
            self._opened = True
            self.samples = samples_of(args[0]) if args else 0
            if self.training is not None and self.training.token_counts.enabled and args:
                with guard("counting the tokens of a batch"):
                    self.training.token_counts.count(self.begin, args[0])
            if self.clock is not None:
                self.clock.begin(now)
        elif hook in BATCH_END_HOOKS:
            self._close_phase(began)
            marks += CALLBACKS, now
            outputs = args[0] if args else None
            self.loss = outputs.get("loss") if type(outputs) is dict else outputs

    def _close_phase(self, began: int) -> None:
        """The time between the last phase and the callbacks at the end of the batch."""
        marks = self.marks
        last = marks[-2] if marks else DATA_LOADING
        if not self._opened:
            marks += BATCH_TRANSFER, began  # the batch was None: Lightning passes it to nobody
        elif last in (CALLBACKS, DATA_LOADING):
            marks += MODEL_FORWARD, began
        else:
            marks[-1] = began  # Lightning's bookkeeping after the last phase belongs to that phase

    def finish(self) -> None:
        """The iteration has ended."""
        end, marks, placeholder = perf_counter_ns(), self.marks, self._placeholder
        if self._stack and self._stack[-1] is placeholder:
            self._stack.pop()
        self.marks = []
        marks += METRIC_LOGGING, end
        begin = self.begin
        item = (self.name, placeholder.id, self._parent, begin, end, self._thread, self._origin, marks)
        if self.clock is None:
            self._emit(item)
        else:
            self.clock.finish(item)
        training = self.training
        if training is not None:
            pending = training.pending
            pending.append((begin, end, self.samples, marks))
            if len(pending) >= training.report_at:
                training.report(loss_of(self.loss))
        elif self.durations is not None:
            self.durations.add(end - begin)

    def discard(self) -> None:
        """There was no batch: discard the iteration."""
        self._pop_placeholder()
        self.marks = []

    def skip(self) -> None:
        """`on_train_batch_start` returned -1: the batch was fetched and not used."""
        self._pop_placeholder()
        self._emit_spans({"skipped": True}, None)

    def fail(self, error: BaseException) -> None:
        """An exception ends the iteration."""
        self._pop_placeholder()
        self._emit_spans({}, error)

    def _pop_placeholder(self) -> None:
        while self._placeholder in self._stack:
            self._stack.pop()

    def _emit_spans(self, attributes: dict[str, Any], error: BaseException | None) -> None:
        """An unusual iteration: emit it span by span."""
        end, marks, self.marks = perf_counter_ns(), self.marks, []
        begin, origin, number = self.begin, self._origin, self._placeholder.id
        if error is None:
            self._emit((self.name, number, self._parent, begin + origin, end - begin, self._thread, attributes))
        else:
            self._emit(
                Span(
                    id=number, name=self.name, start_ns=begin + origin, duration_ns=end - begin, parent=self._parent,
                    thread=self._thread, attributes=attributes, error=describe_error(error),
                )
            )  # fmt: skip
        for phase, until in zip(marks[::2], marks[1::2]):
            self._recorder.add(phase, begin + origin, until - begin, number)
            begin = until


class CurrentIteration(threading.local):
    """The iteration running on the current thread; one object per integration."""

    loop: IterationTimer | None = None
    """The iterations of the innermost loop."""
    timer: IterationTimer | None = None
    """The same while an iteration runs."""


def loss_of(outputs: Any) -> Any:
    """The loss of a step as a number, or as a copy on its device for the writer thread to read; None if it has none."""
    with guard("looking for the loss"):
        loss: Any = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if getattr(loss, "is_cpu", None) is None or loss.numel() != 1:
            return None
        return loss.item() if loss.is_cpu else loss.detach().clone()
    return None
