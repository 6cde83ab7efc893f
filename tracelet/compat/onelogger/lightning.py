"""nv-one-logger's Lightning integration: `hook_trainer_cls`, `OneLoggerPTLTrainer` and their callback.

Called by the user's program. Spans of Lightning are automatic in tracelet, so the callback's Lightning hooks do
nothing; its other methods are `callbacks`. Lightning is imported by the first use only.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tracelet.compat.onelogger import callbacks
from tracelet.telemetry.recording.onelogger_hooks import TelemetryCallbacks


class HookedTrainer(tuple[Any, Any]):
    """(Trainer class, callback); called, it makes a trainer, as nv-one-logger's documentation does."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A trainer of the class."""
        return self[0](*args, **kwargs)


class _Methods(TelemetryCallbacks):
    """The functions of `callbacks` as methods."""

    on_app_start = staticmethod(callbacks.on_app_start)
    on_app_end = staticmethod(callbacks.on_app_end)


def make_callback(flavour: str) -> Any:
    """A callback of this flavour of Lightning (`lightning.pytorch`, `pytorch_lightning`)."""
    base = import_module(flavour).Callback
    return type("TimeEventCallback", (_Methods, base), {"__module__": __name__})()


def TimeEventCallback(  # noqa: N802  # as the class that it stands for is called
    training_telemetry_provider: Any = None, call_on_app_start: bool = True
) -> Any:
    """The callback; the program's span begins, unless it has begun."""
    del training_telemetry_provider
    callback = make_callback(_installed())
    if call_on_app_start:
        callback.on_app_start()
    return callback


def hook_trainer_cls(
    cls: type, training_telemetry_provider: Any = None, telemetry_callback: Any = None
) -> HookedTrainer:
    """A Trainer class whose trainers have the property `nv_one_logger_callback`, and the callback."""
    del training_telemetry_provider
    roots = {base.__module__.partition(".")[0] for base in cls.__mro__}
    flavour = "pytorch_lightning" if "pytorch_lightning" in roots else "lightning.pytorch"
    callback = telemetry_callback if telemetry_callback is not None else make_callback(flavour)
    callback.on_app_start()
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    hooked = type(cls)(cls.__name__, (cls,), {**names, "nv_one_logger_callback": property(lambda _: callback)})
    return HookedTrainer((hooked, callback))


def OneLoggerPTLTrainer(  # noqa: N802  # as the class that it stands for is called
    trainer_config: Mapping[str, Any], training_telemetry_provider: Any = None
) -> Any:
    """A Lightning Trainer with these arguments and the property `nv_one_logger_callback`."""
    hooked, _ = hook_trainer_cls(import_module(_installed()).Trainer, training_telemetry_provider)
    return hooked(**trainer_config)


def _installed() -> str:
    return "lightning.pytorch" if find_spec("lightning") else "pytorch_lightning"
