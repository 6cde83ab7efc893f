"""nv-one-logger's names on top of tracelet: a program moves over by replacing `nv_one_logger` in its imports.

Every module of nv-one-logger 2.3.1 that programs import from is this module under another name, so that both
`from tracelet.compat.onelogger import TrainingTelemetryProvider` and a mere search and replace of `nv_one_logger` by
`tracelet.compat.onelogger` work. Importing it starts nothing and imports no SDK.
"""

from __future__ import annotations

import sys as _sys

from tracelet.compat.onelogger.callbacks import application, get_recorder, on_app_end, on_app_start, timed_span
from tracelet.compat.onelogger.configuration import LoggerConfig, OneLoggerConfig, TrainingTelemetryConfig
from tracelet.compat.onelogger.exporters import Exporter, FileExporter, OTelExporter
from tracelet.compat.onelogger.lightning import OneLoggerPTLTrainer, TimeEventCallback, hook_trainer_cls
from tracelet.compat.onelogger.provider import Recorder, TrainingTelemetryBuilder, TrainingTelemetryProvider
from tracelet.compat.onelogger.vocabulary import (
    DEFAULT_SPANS_EXPORT_BLACKLIST,
    Attribute,
    Attributes,
    CheckPointStrategy,
    Event,
    ExportCustomizationMode,
    StandardSpanName,
    StandardTrainingJobEventName,
    StandardTrainingJobSpanName,
    TracingTimestamp,
)
from tracelet.telemetry import (
    checkpoint_load,
    checkpoint_save,
    dataloader_init,
    model_init,
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
    on_testing_start,
    on_train_end,
    on_train_start,
    on_training_single_iteration_end,
    on_training_single_iteration_start,
    on_validation_end,
    on_validation_single_iteration_end,
    on_validation_single_iteration_start,
    on_validation_start,
    optimizer_init,
    testing_loop,
    training_iteration,
    training_loop,
    validation_iteration,
    validation_loop,
)

__all__ = [
    "DEFAULT_SPANS_EXPORT_BLACKLIST", "Attribute", "Attributes", "CheckPointStrategy", "Event",
    "ExportCustomizationMode", "Exporter", "FileExporter", "LoggerConfig", "OTelExporter", "OneLoggerConfig",
    "OneLoggerPTLTrainer", "Recorder", "StandardSpanName", "StandardTrainingJobEventName",
    "StandardTrainingJobSpanName", "TimeEventCallback", "TracingTimestamp", "TrainingTelemetryBuilder",
    "TrainingTelemetryConfig", "TrainingTelemetryProvider", "application", "checkpoint_load", "checkpoint_save",
    "dataloader_init", "get_recorder", "hook_trainer_cls", "model_init", "on_app_end", "on_app_start",
    "on_dataloader_init_end", "on_dataloader_init_start", "on_distributed_init_end", "on_distributed_init_start",
    "on_load_checkpoint_end", "on_load_checkpoint_start", "on_model_init_end", "on_model_init_start",
    "on_optimizer_init_end", "on_optimizer_init_start", "on_save_checkpoint_end", "on_save_checkpoint_start",
    "on_save_checkpoint_success", "on_testing_end", "on_testing_start", "on_train_end", "on_train_start",
    "on_training_single_iteration_end", "on_training_single_iteration_start", "on_validation_end",
    "on_validation_single_iteration_end", "on_validation_single_iteration_start", "on_validation_start",
    "optimizer_init", "testing_loop", "timed_span", "training_iteration", "training_loop", "validation_iteration",
    "validation_loop",
]  # fmt: skip

_MODULES = (
    "api", "api.config", "api.timed_span", "api.recorder", "core", "core.attributes", "core.event", "core.span",
    "core.time", "exporter", "exporter.file_exporter", "exporter.export_customization", "otel", "otel.exporter",
    "otel.exporter.otel_exporter", "recorder", "recorder.default_recorder", "training_telemetry",
    "training_telemetry.api", "training_telemetry.api.attributes", "training_telemetry.api.callbacks",
    "training_telemetry.api.checkpoint", "training_telemetry.api.config", "training_telemetry.api.context",
    "training_telemetry.api.events", "training_telemetry.api.spans", "training_telemetry.api.training_recorder",
    "training_telemetry.api.training_telemetry_provider", "training_telemetry.integration",
    "training_telemetry.integration.pytorch_lightning",
)  # fmt: skip
"""nv-one-logger's modules, below its package."""
_sys.modules.update({f"{__name__}.{name}": _sys.modules[__name__] for name in _MODULES})
