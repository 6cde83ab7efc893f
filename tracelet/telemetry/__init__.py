"""The time of a training: spans, events and counters, to add by hand where they are not automatic.

Under Lightning none of this needs to be called. For plain PyTorch loops and other frameworks there are context managers
(`with tracelet.telemetry.training_iteration():`), which are also decorators, and pairs of functions
(`on_training_single_iteration_start()` ... `_end()`). Without an active run they do nothing and cost one comparison.
"""

from __future__ import annotations

from typing import Any

from tracelet.telemetry.recording import active_recorder as _active
from tracelet.telemetry.recording.callbacks import (
    on_app_end,
    on_app_start,
    on_dataloader_init_end,
    on_dataloader_init_start,
    on_distributed_init_end,
    on_distributed_init_start,
    on_load_checkpoint_end,
    on_load_checkpoint_start,
    on_model_init_end,
    on_model_init_start,
    on_optimizer_init_end,
    on_optimizer_init_start,
    on_save_checkpoint_end,
    on_save_checkpoint_start,
    on_save_checkpoint_success,
    on_testing_end,
    on_testing_single_iteration_end,
    on_testing_single_iteration_start,
    on_testing_start,
    on_train_end,
    on_train_start,
    on_training_single_iteration_end,
    on_training_single_iteration_start,
    on_validation_end,
    on_validation_single_iteration_end,
    on_validation_single_iteration_start,
    on_validation_start,
)
from tracelet.telemetry.recording.configuration import TelemetryConfig, save_for_next_run
from tracelet.telemetry.recording.context_managers import (
    application,
    checkpoint_load,
    checkpoint_save,
    data_loader_init,
    data_loading,
    dataloader_init,
    dist_init,
    model_backward,
    model_forward,
    model_init,
    optimizer_init,
    optimizer_update,
    testing_iteration,
    testing_loop,
    training_iteration,
    training_loop,
    validation_iteration,
    validation_loop,
    zero_grad,
)
from tracelet.telemetry.recording.onelogger_hooks import OneLoggerPTLTrainer, TelemetryCallbacks, hook_trainer_cls
from tracelet.telemetry.recording.span import span, timed_span

__all__ = [
    "OneLoggerPTLTrainer", "TelemetryCallbacks", "TelemetryConfig", "application", "checkpoint_load", "checkpoint_save",
    "configure", "current_span", "data_loader_init", "data_loading", "dataloader_init", "dist_init", "hook_trainer_cls",
    "model_backward", "model_forward", "model_init", "on_app_end", "on_app_start", "on_dataloader_init_end",
    "on_dataloader_init_start", "on_distributed_init_end", "on_distributed_init_start", "on_load_checkpoint_end",
    "on_load_checkpoint_start", "on_model_init_end", "on_model_init_start", "on_optimizer_init_end",
    "on_optimizer_init_start", "on_save_checkpoint_end", "on_save_checkpoint_start", "on_save_checkpoint_success",
    "on_testing_end", "on_testing_single_iteration_end", "on_testing_single_iteration_start", "on_testing_start",
    "on_train_end", "on_train_start", "on_training_single_iteration_end", "on_training_single_iteration_start",
    "on_validation_end", "on_validation_single_iteration_end", "on_validation_single_iteration_start",
    "on_validation_start", "optimizer_init", "optimizer_update", "span", "testing_iteration", "testing_loop",
    "timed_span", "training_iteration", "training_loop", "validation_iteration", "validation_loop", "zero_grad",
]  # fmt: skip


def configure(**facts: Any) -> None:
    """Tell what cannot be seen from outside: `flops_per_sample`, `seq_length`, `global_batch_size`, targets, tags.

    The names are the fields of `TelemetryConfig`; those of nv-one-logger (`..._or_fn`) are understood. An unknown one
    is a `SettingsError`. Without an active run the facts are kept for the next one.
    """
    job = _active.job()
    if job is None:
        save_for_next_run(facts)
    else:
        job.configure(facts)


def current_span() -> Any:
    """The innermost open span of the calling thread, or one that records nothing."""
    from tracelet.telemetry.recording.span import NOOP_SPAN

    recorder = _active.recorder()
    return (recorder.current() if recorder is not None else None) or NOOP_SPAN
