"""For programs that come from nv-one-logger: `hook_trainer_cls`, `OneLoggerPTLTrainer`, and the object that their
trainers carry.

Called by the user's program. Under Lightning the spans are automatic, so the class that is returned records nothing by
itself: it only has the property through which such programs reach the callbacks. The class given is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from tracelet.guard import say
from tracelet.telemetry.recording import active_recorder, callbacks

Trainer = TypeVar("Trainer", bound=type)


class TelemetryCallbacks:
    """The functions of `tracelet.telemetry.recording.callbacks` as methods; one object for the program."""

    on_app_start = staticmethod(callbacks.on_app_start)
    on_app_end = staticmethod(callbacks.on_app_end)
    on_distributed_init_start = staticmethod(callbacks.on_distributed_init_start)
    on_distributed_init_end = staticmethod(callbacks.on_distributed_init_end)
    on_model_init_start = staticmethod(callbacks.on_model_init_start)
    on_model_init_end = staticmethod(callbacks.on_model_init_end)
    on_dataloader_init_start = staticmethod(callbacks.on_dataloader_init_start)
    on_dataloader_init_end = staticmethod(callbacks.on_dataloader_init_end)
    on_optimizer_init_start = staticmethod(callbacks.on_optimizer_init_start)
    on_optimizer_init_end = staticmethod(callbacks.on_optimizer_init_end)
    on_load_checkpoint_start = staticmethod(callbacks.on_load_checkpoint_start)
    on_load_checkpoint_end = staticmethod(callbacks.on_load_checkpoint_end)
    on_testing_start = staticmethod(callbacks.on_testing_start)
    on_testing_end = staticmethod(callbacks.on_testing_end)
    on_save_checkpoint_start = staticmethod(callbacks.on_save_checkpoint_start)
    on_save_checkpoint_success = staticmethod(callbacks.on_save_checkpoint_success)
    on_save_checkpoint_end = staticmethod(callbacks.on_save_checkpoint_end)


def hook_trainer_cls(
    cls: Trainer, training_telemetry_provider: Any = None, telemetry_callback: Any = None
) -> tuple[Trainer, Any]:
    """A Trainer class with the property `nv_one_logger_callback`, and the callback that it gives.

    Made for a two-line move from nv-one-logger; new programs need neither. `training_telemetry_provider` is accepted
    and not used: what is recorded, and where to, is told to `tracelet.start_logging()` and
    `tracelet.telemetry.configure()`.
    """
    del training_telemetry_provider
    if active_recorder.recorder() is None:
        say(
            "hook_trainer_cls() was called without a run that records spans, and nothing will be recorded. "
            "Type tracelet.start_logging('name') before it.",
            once="hook_trainer_cls",
        )
    callback = telemetry_callback if telemetry_callback is not None else TelemetryCallbacks()
    if telemetry_callback is None:
        callback.on_app_start()
    # The name stays: checkpoints, messages and command lines show it.
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    hooked: Any = type(cls)(cls.__name__, (cls,), {**names, "nv_one_logger_callback": property(lambda _: callback)})
    return hooked, callback


def OneLoggerPTLTrainer(  # noqa: N802  # as the class that it stands for is called
    trainer_config: Mapping[str, Any], training_telemetry_provider: Any = None
) -> Any:
    """A Lightning Trainer with these arguments and the property `nv_one_logger_callback`; see `hook_trainer_cls`."""
    lightning = import_module("lightning.pytorch" if find_spec("lightning") else "pytorch_lightning")
    hooked, _ = hook_trainer_cls(lightning.Trainer, training_telemetry_provider)
    return hooked(**trainer_config)
