"""The predefined spans as context managers and decorators: `with training_iteration(): ...`.

For plain PyTorch loops and other frameworks; under Lightning all of them are automatic. Without an active run they do
nothing. Each returns the open span, which takes attributes and events.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from tracelet.telemetry import names
from tracelet.telemetry.recording import active_recorder, predefined_spans
from tracelet.telemetry.recording.span import span
from tracelet.telemetry.recording.span_recorder import ActiveSpan
from tracelet.telemetry.recording.training_job import TrainingJob

GetAttributes = Callable[[TrainingJob], Mapping[str, Any]]


class PredefinedSpan(span):
    """A span that counts: see `stages`."""

    def __init__(self, name: str, prepare: GetAttributes | None = None) -> None:
        super().__init__(name)
        self._prepare = prepare

    def _begin(self, depth: int = 2) -> ActiveSpan | None:
        if active_recorder.recorder() is None:
            return None
        opened = predefined_spans.begin(self.name, None, None, sys._getframe(depth), self._prepare)
        return opened if isinstance(opened, ActiveSpan) else None

    def _end(self, opened: ActiveSpan | None, error: BaseException | None = None) -> None:
        predefined_spans.end(opened, error)


class CheckpointSave(PredefinedSpan):
    """A checkpoint save: successful if its block ends without an exception, unless the strategy is `async`."""

    def __init__(self, step: int, path: str) -> None:
        super().__init__(names.CHECKPOINT_SAVE_SYNC)
        self._step = step
        self._path = path

    def _begin(self, depth: int = 2) -> ActiveSpan | None:
        opened = predefined_spans.begin_save(self._step, frame=sys._getframe(depth))
        return opened if isinstance(opened, ActiveSpan) else None

    def _end(self, opened: ActiveSpan | None, error: BaseException | None = None) -> None:
        if error is None and opened is not None and opened.name == names.CHECKPOINT_SAVE_SYNC:
            predefined_spans.succeed_save(self._step, path=self._path)
        predefined_spans.end(opened, error)


def application() -> span:
    """The application's span, which the run has opened already; ends at the end of the block."""
    return PredefinedSpan(names.APPLICATION)


def dist_init() -> span:
    """The processes find one another."""
    return PredefinedSpan(names.DIST_INIT)


def data_loader_init() -> span:
    """Data loaders are made."""
    return PredefinedSpan(names.DATA_LOADER_INIT)


def model_init() -> span:
    """The model is made."""
    return PredefinedSpan(names.MODEL_INIT)


def optimizer_init() -> span:
    """Optimizers are made."""
    return PredefinedSpan(names.OPTIMIZER_INIT)


def checkpoint_load() -> span:
    """A checkpoint is loaded."""
    return PredefinedSpan(names.CHECKPOINT_LOAD)


def checkpoint_save(global_step: int, path: str = "") -> span:
    """A checkpoint is saved; with its path, size and folder are recorded too."""
    return CheckpointSave(global_step, path)


def training_loop(
    train_iterations_start: int = 0,
    train_samples_start: int | None = None,
    train_iterations_target_or_fn: int | Callable[[], int] | None = None,
    train_samples_target_or_fn: int | Callable[[], int] | None = None,
) -> span:
    """The loop over training iterations, all epochs of it."""
    targets = train_iterations_target_or_fn, train_samples_target_or_fn
    return PredefinedSpan(
        names.TRAINING_LOOP, predefined_spans.loop_attributes(train_iterations_start, train_samples_start, *targets)
    )


def training_iteration() -> span:
    """One training step, from asking for its batch to the optimizer's update."""
    return PredefinedSpan(names.TRAINING_ITERATION)


def data_loading() -> span:
    """Waiting for a batch."""
    return PredefinedSpan(names.DATA_LOADING)


def model_forward() -> span:
    """The forward pass."""
    return PredefinedSpan(names.MODEL_FORWARD)


def model_backward() -> span:
    """The backward pass."""
    return PredefinedSpan(names.MODEL_BACKWARD)


def zero_grad() -> span:
    """Gradients are cleared."""
    return PredefinedSpan(names.ZERO_GRAD)


def optimizer_update() -> span:
    """The optimizer changes the weights."""
    return PredefinedSpan(names.OPTIMIZER_UPDATE)


def validation_loop() -> span:
    """One validation."""
    return PredefinedSpan(names.VALIDATION_LOOP)


def validation_iteration() -> span:
    """One batch of a validation."""
    return PredefinedSpan(names.VALIDATION_ITERATION)


def testing_loop() -> span:
    """One test."""
    return PredefinedSpan(names.TESTING_LOOP)


def testing_iteration() -> span:
    """One batch of a test."""
    return PredefinedSpan(names.TESTING_ITERATION)


dataloader_init = data_loader_init
"""As nv-one-logger spells it."""
