"""nv-one-logger's two configuration objects. Plain data; any thread.

Options are kept as given; one that tracelet does not know is ignored, as nv-one-logger does, and reported once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tracelet.errors import SettingsError
from tracelet.guard import say
from tracelet.telemetry.recording.configuration import TelemetryConfig

KNOWN = frozenset(field.name for field in dataclasses.fields(TelemetryConfig))
OURS = frozenset({"enable_for_current_rank", "telemetry_config", "error_handling_strategy", "logger_config"})
"""Options of the base configuration that are no facts about the training."""


class _Options:
    """Options by name, with or without `_or_fn`; attributes give their values."""

    required: tuple[str, ...] = ()

    def __init__(self, **options: Any) -> None:
        self.options = {name.removesuffix("_or_fn"): value for name, value in options.items()}
        missing = [name for name in self.required if self.options.get(name) is None]
        if missing:
            raise SettingsError(f"{type(self).__name__} needs {', '.join(missing)}.")
        for name in sorted(self.options.keys() - KNOWN - OURS):
            say(f"{type(self).__name__} has no option {name!r}; it is ignored.", once=f"onelogger:{name}")

    def __getattr__(self, name: str) -> Any:
        options = self.__dict__.get("options", {})
        plain = name.removesuffix("_or_fn")
        if plain in options:
            value = options[plain]
            return value() if callable(value) and plain == name else value
        if plain in KNOWN or plain in OURS:
            return getattr(TelemetryConfig(), plain, None)
        raise AttributeError(name)

    @property
    def facts(self) -> dict[str, Any]:
        """What `tracelet.telemetry.configure()` takes."""
        return {name: value for name, value in self.options.items() if name in KNOWN and value is not None}


class OneLoggerConfig(_Options):
    """The program: its name, its job, its number of processes."""

    required = ("application_name",)

    @property
    def enabled(self) -> bool:
        """Whether this rank records."""
        return bool(self.options.get("enable_for_current_rank", True))


class TrainingTelemetryConfig(_Options):
    """The training: batch size, operations, targets, interval of metrics."""


class LoggerConfig:
    """Accepted and not used: tracelet's messages go to the logger `tracelet`."""

    def __init__(self, **_: Any) -> None:
        pass
