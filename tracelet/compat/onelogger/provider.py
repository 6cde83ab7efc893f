"""nv-one-logger's provider: it configures and starts the run, and gives a recorder of spans of the program's own.

Called by the user's program. A run that is active already is used as it is; one that the provider has started ends with
`on_app_end()`, and the provider may then be configured again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tracelet
from tracelet import telemetry
from tracelet.compat.onelogger.configuration import OneLoggerConfig, TrainingTelemetryConfig
from tracelet.compat.onelogger.exporters import FileExporter, backends
from tracelet.compat.onelogger.vocabulary import (
    DEFAULT_SPANS_EXPORT_BLACKLIST,
    Event,
    ExportCustomizationMode,
    plain,
)
from tracelet.errors import SettingsError
from tracelet.telemetry import names
from tracelet.telemetry.recording import active_recorder, predefined_spans
from tracelet.telemetry.recording.span import NOOP_SPAN, SpanLike
from tracelet.telemetry.recording.span_recorder import ActiveSpan

ONLY_OURS = (
    names.BATCH_TRANSFER, names.CALLBACKS, names.METRIC_LOGGING, names.COLLECTIVE_WAIT, names.PREDICT_ITERATION,
)  # fmt: skip
"""Spans inside iterations that nv-one-logger does not have; left out where it leaves out its own."""


class Recorder:
    """Starts and stops spans of the program's own, and records events and errors on them."""

    def start(self, span_name: Any, span_attributes: Mapping[str, Any] | None = None, *_: Any, **__: Any) -> SpanLike:
        """Open a span."""
        name = str(getattr(span_name, "value", span_name))
        return predefined_spans.begin(name, plain(span_attributes))

    def stop(self, span: SpanLike | None, *_: Any, **__: Any) -> None:
        """Close it."""
        predefined_spans.end(span)

    def event(self, span: SpanLike | Event, event: Event | None = None) -> Event:
        """Record an event on a span, or on the innermost one if only the event is given."""
        found, holder = (span, None) if isinstance(span, Event) else (event, span)
        recorder = active_recorder.recorder()
        if recorder is not None and found is not None:
            moment = int(found.timestamp.seconds_since_epoch * 1e9) if found.timestamp is not None else None
            target = holder if isinstance(holder, ActiveSpan) else None
            recorder.event(found.name, found.attributes.to_json(), span=target, time_ns=moment)
        return found or Event("")

    def error(self, span: SpanLike | None, error_message: str, exception: BaseException | None = None) -> Event:
        """Record an error of the program on a span."""
        attributes = {"error_message": error_message}
        if exception is not None:
            attributes |= {"exception_type": type(exception).__name__, "exception_message": str(exception)}
        event = Event.create("error")
        for name, value in attributes.items():
            event.attributes.add(name, value)
        return self.event(span or NOOP_SPAN, event)

    def get_active_spans_by_name(self, name: Any) -> list[ActiveSpan]:
        """The innermost open span of this name, if there is one."""
        recorder = active_recorder.recorder()
        found = recorder.find(str(getattr(name, "value", name))) if recorder is not None else None
        return [found] if found is not None else []

    def close(self) -> None:
        """End everything that is open."""
        TrainingTelemetryProvider.instance().finish()


class TrainingTelemetryProvider:
    """The program's telemetry; there is one, `TrainingTelemetryProvider.instance()`."""

    _instance: TrainingTelemetryProvider | None = None

    def __init__(self) -> None:
        self.recorder = Recorder()
        self._reset()

    def _reset(self) -> None:
        self._config: OneLoggerConfig | None = None
        self._overrides: dict[str, Any] = {}
        self._exporters: list[Any] = []
        self._spans, self._deny = "all", ",".join((*DEFAULT_SPANS_EXPORT_BLACKLIST, *ONLY_OURS))
        self._ours = self._ready = self._disabled = False

    @classmethod
    def instance(cls) -> TrainingTelemetryProvider:
        """The provider."""
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    def with_base_config(self, config: OneLoggerConfig) -> TrainingTelemetryProvider:
        """Describe the program."""
        self._config = config
        return self

    with_base_telemetry_config = with_base_config

    def with_config_override(self, config_override: Mapping[str, Any]) -> TrainingTelemetryProvider:
        """Replace some options; those of `telemetry_config` too."""
        self._overrides.update(config_override)
        return self

    def with_exporter(self, exporter: Any) -> TrainingTelemetryProvider:
        """Send spans there."""
        self._exporters.append(exporter)
        return self

    def with_export_config(self, *_: Any, **__: Any) -> TrainingTelemetryProvider:
        """Not supported: backends belong into `[tool.tracelet]` or `tracelet.start_logging(backend=...)`."""
        raise SettingsError(
            "with_export_config() is not supported. Name backends under [tool.tracelet] in pyproject.toml, or give "
            "exporters: with_exporter(FileExporter(...))."
        )

    def with_export_customization(
        self, export_customization_mode: Any, span_name_filter: Iterable[Any] | None = None
    ) -> TrainingTelemetryProvider:
        """Choose the spans that exporters get."""
        named = ",".join(str(getattr(name, "value", name)) for name in span_name_filter or ())
        mode = str(getattr(export_customization_mode, "value", export_customization_mode))
        self._spans, self._deny = {
            ExportCustomizationMode.EXPORT_ALL_SPANS.value: ("all", ""),
            ExportCustomizationMode.WHITELIST_SPANS.value: (named, ""),
            ExportCustomizationMode.BLACKLIST_SPANS.value: ("all", named),
        }[mode]
        return self

    def configure(self, config: OneLoggerConfig, exporters: Iterable[Any] = ()) -> None:
        """`with_base_config`, `with_exporter` and `configure_provider` in one."""
        self._config = config
        self._exporters += exporters
        self.configure_provider()

    def configure_provider(self) -> TrainingTelemetryProvider:
        """Start the run, if none is active."""
        base = self._config or OneLoggerConfig(application_name="application")
        options = {**base.options, **{name.removesuffix("_or_fn"): v for name, v in self._overrides.items()}}
        inner = options.pop("telemetry_config", None)
        base = OneLoggerConfig(**options)
        self._config, self._ready = base, True
        if not base.enabled or self._disabled:
            return self
        telemetry.configure(**base.facts)
        if tracelet.get_active_experiment() is None:
            for exporter in self._exporters:
                if isinstance(exporter, FileExporter):
                    exporter.begin()
            chosen = backends(self._exporters, self._spans, self._deny)
            self._ours = tracelet.start_logging(base.application_name, backend=chosen or None) is not None
        if inner is not None:
            self.set_training_telemetry_config(inner)
        return self

    def set_training_telemetry_config(self, training_telemetry_config: TrainingTelemetryConfig) -> None:
        """Describe the training."""
        if not self._disabled and (self._config is None or self._config.enabled):
            telemetry.configure(**training_telemetry_config.facts)

    @property
    def config(self) -> OneLoggerConfig:
        """The description of the program."""
        if self._config is None:
            raise SettingsError("the provider is not configured. Call configure_provider() first.")
        return self._config

    @property
    def one_logger_ready(self) -> bool:
        """Whether the provider is configured."""
        return self._ready

    @property
    def one_logger_enabled(self) -> bool:
        """Whether this process records."""
        return self._ready and tracelet.get_active_experiment() is not None

    def force_disable_logging(self) -> None:
        """Record nothing from now on."""
        self.finish()
        self._disabled = True

    def finish(self) -> None:
        """End the run, if the provider has started it."""
        ours = self._ours
        self._reset()
        if ours:
            tracelet.stop_logging()


TrainingTelemetryBuilder = TrainingTelemetryProvider.instance
"""An older name, under which a program makes the provider."""
