"""The names of spans, events and attributes, shared by everything that records or reads telemetry.

They are nv-one-logger's names where those are sound; names below the line "Ours" exist only here.
"""

from __future__ import annotations

APPLICATION = "application"
DIST_INIT = "distributed_code_initialization"
DATA_LOADER_INIT = "data_loader_initialization"
MODEL_INIT = "model_initialization"
OPTIMIZER_INIT = "optimizer_initialization"
CHECKPOINT_LOAD = "checkpoint_load"
CHECKPOINT_SAVE_SYNC = "checkpoint_save_sync"
CHECKPOINT_SAVE_ASYNC = "checkpoint_save_async"
CHECKPOINT_SAVE_FINALIZATION = "checkpoint_save_finalization"
TRAINING_LOOP = "training_loop"
TRAINING_ITERATION = "training_single_iteration"
VALIDATION_LOOP = "validation_loop"
VALIDATION_ITERATION = "validation_single_iteration"
TESTING_LOOP = "testing_loop"
TESTING_ITERATION = "testing_single_iteration"
DATA_LOADING = "data_loading"
MODEL_FORWARD = "model_forward"
MODEL_BACKWARD = "model_backward"
ZERO_GRAD = "zero_grad"
OPTIMIZER_UPDATE = "optimizer_update"

# Ours.
PREDICT_LOOP = "predict_loop"
PREDICT_ITERATION = "predict_single_iteration"
BATCH_TRANSFER = "batch_transfer"
"""From the batch's arrival to the first hook that sees it: conversion, the transfer hooks, the copy to the device."""
COLLECTIVE_WAIT = "collective_wait"
"""Inside whatever waits: the other ranks have not come as far, or a collective exchanges its data."""
CALLBACKS = "callbacks"
"""Lightning's callbacks (of one hook)."""
METRIC_LOGGING = "metric_logging"
"""From the last callback to the iteration's end: metrics are computed and handed to the loggers."""

LOOP_OF = {
    TRAINING_ITERATION: TRAINING_LOOP,
    VALIDATION_ITERATION: VALIDATION_LOOP,
    TESTING_ITERATION: TESTING_LOOP,
    PREDICT_ITERATION: PREDICT_LOOP,
}
INITS = frozenset({DATA_LOADER_INIT, MODEL_INIT, OPTIMIZER_INIT})
"""What a program that opens one by hand opens by hand every time."""
ITERATIONS = frozenset(LOOP_OF)
PHASES = frozenset({
    DATA_LOADING, BATCH_TRANSFER, MODEL_FORWARD, ZERO_GRAD, MODEL_BACKWARD, OPTIMIZER_UPDATE, CALLBACKS, METRIC_LOGGING,
})  # fmt: skip
"""What an iteration consists of."""
SAVES = frozenset({CHECKPOINT_SAVE_SYNC, CHECKPOINT_SAVE_ASYNC})
KNOWN = INITS | SAVES | PHASES | ITERATIONS | frozenset(LOOP_OF.values()) | {
    APPLICATION, DIST_INIT, CHECKPOINT_LOAD, CHECKPOINT_SAVE_FINALIZATION, COLLECTIVE_WAIT,
}  # fmt: skip
"""All names of spans that have a meaning; any other is the program's own."""

INITIALIZATION_EVENT = "one_logger_initialization"
CONFIG_EVENT = "update_training_telemetry_config"
TRAINING_METRICS = "training_metrics_update"
VALIDATION_METRICS = "validation_metrics_update"
TESTING_METRICS = "testing_metrics_update"
SAVE_SUCCESS = "save_checkpoint_success"
SAVE_METRICS = "sync_checkpoint_metrics_update"
TRACEBACK = "exception_traceback"
"""Attribute of the innermost span that an exception ended: where it came from."""
