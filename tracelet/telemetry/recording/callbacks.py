"""The predefined spans as pairs of functions, for frameworks with hooks and for reporting times afterwards.

Names and arguments are those of nv-one-logger: times are milliseconds since the epoch, now if omitted. The functions
that start something return its span. Without an active run they do nothing. An end without a recorded beginning does
nothing either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

from tracelet.telemetry import names
from tracelet.telemetry.recording import active_recorder, predefined_spans
from tracelet.telemetry.recording.span import SpanLike
from tracelet.telemetry.recording.span_recorder import ActiveSpan

Milliseconds = Union[int, float, None]
Target = Union[int, Callable[[], int], None]


def _ns(milliseconds: Milliseconds) -> int | None:
    return None if milliseconds is None else int(milliseconds * 1_000_000)


def on_app_start(start_time_msec: Milliseconds = None) -> SpanLike:
    """The program begins. The run has opened this span already; a time given here corrects its start, once."""
    begun = predefined_spans.begin(names.APPLICATION, start_ns=_ns(start_time_msec))
    recorder = active_recorder.recorder()
    return begun if isinstance(begun, ActiveSpan) or recorder is None else recorder.find(names.APPLICATION) or begun


def on_app_end(finish_time_msec: Milliseconds = None) -> None:
    """The program is over: everything that is still open ends here, the application last."""
    predefined_spans.end_latest(names.APPLICATION, _ns(finish_time_msec))


def on_distributed_init_start(start_time_msec: Milliseconds = None) -> SpanLike:
    """The processes begin to connect."""
    return predefined_spans.begin(names.DIST_INIT, start_ns=_ns(start_time_msec))


def on_distributed_init_end(finish_time_msec: Milliseconds = None) -> None:
    """The processes have connected."""
    predefined_spans.end_latest(names.DIST_INIT, _ns(finish_time_msec))


def on_model_init_start(start_time_msec: Milliseconds = None) -> SpanLike:
    """The model is about to be created."""
    return predefined_spans.begin(names.MODEL_INIT, start_ns=_ns(start_time_msec))


def on_model_init_end(finish_time_msec: Milliseconds = None) -> None:
    """The model is created."""
    predefined_spans.end_latest(names.MODEL_INIT, _ns(finish_time_msec))


def on_dataloader_init_start(start_time_msec: Milliseconds = None) -> SpanLike:
    """Data loaders are about to be created."""
    return predefined_spans.begin(names.DATA_LOADER_INIT, start_ns=_ns(start_time_msec))


def on_dataloader_init_end(finish_time_msec: Milliseconds = None) -> None:
    """The data loaders are created."""
    predefined_spans.end_latest(names.DATA_LOADER_INIT, _ns(finish_time_msec))


def on_optimizer_init_start(start_time_msec: Milliseconds = None) -> SpanLike:
    """Optimizers are about to be created."""
    return predefined_spans.begin(names.OPTIMIZER_INIT, start_ns=_ns(start_time_msec))


def on_optimizer_init_end(finish_time_msec: Milliseconds = None) -> None:
    """The optimizers are created."""
    predefined_spans.end_latest(names.OPTIMIZER_INIT, _ns(finish_time_msec))


def on_load_checkpoint_start(start_time_msec: Milliseconds = None) -> SpanLike:
    """A checkpoint is about to be loaded."""
    return predefined_spans.begin(names.CHECKPOINT_LOAD, start_ns=_ns(start_time_msec))


def on_load_checkpoint_end(finish_time_msec: Milliseconds = None) -> None:
    """The checkpoint is loaded."""
    predefined_spans.end_latest(names.CHECKPOINT_LOAD, _ns(finish_time_msec))


def on_train_start(
    train_iterations_start: int = 0,
    train_samples_start: int | None = None,
    train_iterations_target_or_fn: Target = None,
    train_samples_target_or_fn: Target = None,
    start_time_msec: Milliseconds = None,
) -> SpanLike:
    """The training loop begins."""
    targets = train_iterations_target_or_fn, train_samples_target_or_fn
    prepare = predefined_spans.loop_attributes(train_iterations_start, train_samples_start, *targets)
    return predefined_spans.begin(names.TRAINING_LOOP, start_ns=_ns(start_time_msec), prepare=prepare)


def on_train_end(finish_time_msec: Milliseconds = None) -> None:
    """The training loop is over."""
    predefined_spans.end_latest(names.TRAINING_LOOP, _ns(finish_time_msec))


def on_training_single_iteration_start(start_time_msec: Milliseconds = None) -> SpanLike:
    """A training step begins."""
    return predefined_spans.begin(names.TRAINING_ITERATION, start_ns=_ns(start_time_msec))


def on_training_single_iteration_end(finish_time_msec: Milliseconds = None) -> None:
    """The training step is over."""
    predefined_spans.end_latest(names.TRAINING_ITERATION, _ns(finish_time_msec))


def on_validation_start(start_time_msec: Milliseconds = None) -> SpanLike:
    """A validation begins."""
    return predefined_spans.begin(names.VALIDATION_LOOP, start_ns=_ns(start_time_msec))


def on_validation_end(finish_time_msec: Milliseconds = None) -> None:
    """The validation is over."""
    predefined_spans.end_latest(names.VALIDATION_LOOP, _ns(finish_time_msec))


def on_validation_single_iteration_start(start_time_msec: Milliseconds = None) -> SpanLike:
    """A batch of a validation begins; one that is still open is over now."""
    recorder = active_recorder.recorder()
    if recorder is not None and recorder.find(names.VALIDATION_ITERATION) is not None:
        predefined_spans.end_latest(names.VALIDATION_ITERATION, _ns(start_time_msec))
    return predefined_spans.begin(names.VALIDATION_ITERATION, start_ns=_ns(start_time_msec))


def on_validation_single_iteration_end(finish_time_msec: Milliseconds = None) -> None:
    """The batch of the validation is over."""
    predefined_spans.end_latest(names.VALIDATION_ITERATION, _ns(finish_time_msec))


def on_testing_start(start_time_msec: Milliseconds = None) -> SpanLike:
    """A test begins."""
    return predefined_spans.begin(names.TESTING_LOOP, start_ns=_ns(start_time_msec))


def on_testing_end(finish_time_msec: Milliseconds = None) -> None:
    """The test is over."""
    predefined_spans.end_latest(names.TESTING_LOOP, _ns(finish_time_msec))


def on_testing_single_iteration_start(start_time_msec: Milliseconds = None) -> SpanLike:
    """A batch of a test begins."""
    return predefined_spans.begin(names.TESTING_ITERATION, start_ns=_ns(start_time_msec))


def on_testing_single_iteration_end(finish_time_msec: Milliseconds = None) -> None:
    """The batch of the test is over."""
    predefined_spans.end_latest(names.TESTING_ITERATION, _ns(finish_time_msec))


def on_save_checkpoint_start(global_step: int, start_time_msec: Milliseconds = None) -> SpanLike:
    """A checkpoint is about to be saved."""
    return predefined_spans.begin_save(global_step, _ns(start_time_msec))


def on_save_checkpoint_success(global_step: int, time_msec: Milliseconds = None, path: str = "") -> None:
    """The checkpoint is stored safely."""
    predefined_spans.succeed_save(global_step, _ns(time_msec), path)


def on_save_checkpoint_end(finish_time_msec: Milliseconds = None) -> None:
    """The training continues after a save, whether it is finished or not."""
    for name in (names.CHECKPOINT_SAVE_SYNC, names.CHECKPOINT_SAVE_ASYNC):
        predefined_spans.end_latest(name, _ns(finish_time_msec))
