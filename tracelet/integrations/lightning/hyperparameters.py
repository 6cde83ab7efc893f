"""Hyperparameters: the arguments of module, datamodule, trainer and loggers, and what Lightning derives from them.

Called on the training thread a few times per fit, never per step. A name is recorded again only when its value has
changed or another fit has begun. It computes nothing with the model: no forward pass, no random number, no read of a
device.
"""

from __future__ import annotations

import inspect
import os
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tracelet.capture.nested_values import mapping_of
from tracelet.capture.parameter_values import unreadable
from tracelet.capture.parameters import flatten
from tracelet.capture.record_size import split_values
from tracelet.guard import attempt, guard
from tracelet.integrations.base import Sink
from tracelet.integrations.lightning.logger_calls import LoggerCalls
from tracelet.integrations.lightning.trainer_calls import Fit, TrainerCalls
from tracelet.integrations.model_description import describe_model, describe_optimizers
from tracelet.integrations.object_settings import described_arguments
from tracelet.integrations.patching import Function, Patch
from tracelet.journal.records import Facts, Params, Scalar

_NEVER: object = object()
INTERNAL = frozenset({"_class_path", "_instantiator"})
"""Keys that LightningCLI adds to the hyperparameters to load checkpoints."""
OPTIMIZERS = "configured optimizers"
"""The key under which a fit that resumes keeps the description of its optimizers."""
READABLE = (
    "max_epochs", "min_epochs", "max_steps", "min_steps", "precision", "accumulate_grad_batches", "gradient_clip_val",
    "gradient_clip_algorithm", "log_every_n_steps", "val_check_interval", "check_val_every_n_epoch",
    "num_sanity_val_steps", "limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches",
    "overfit_batches", "fast_dev_run", "reload_dataloaders_every_n_epochs", "default_root_dir", "callbacks",
)  # fmt: skip
"""Arguments of a Trainer created before we started that are still readable, under their own names."""


class Hyperparameters:
    """Emits `Params` and the model's `Facts`."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls, loggers: LoggerCalls) -> None:
        self._sink = sink
        self._trainer_calls = trainer_calls
        self._told: dict[tuple[str, str], Scalar] = {}
        """Values by source and name; without a source the last one by any. Begun anew with every fit but the first."""
        self._fit = 0
        """The fit that they are of."""
        self._arguments: weakref.WeakKeyDictionary[Any, dict[str, Scalar]] = weakref.WeakKeyDictionary()
        """What each trainer was created with."""
        self._loggers = loggers
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        """Trainers whose arguments have been recorded."""
        self.on_setup: Callable[[Any], None] = lambda _: None
        """Called with the trainer when a stage begins and its setup is complete."""
        loggers.tell = lambda values: self._tell(values, "logger")
        trainer_calls.on_begin.append(self._begin)

    def patches(self, root: str) -> list[Patch]:
        """The places where arguments arrive, and where setup is complete."""
        trainer = f"{root}.trainer.trainer"
        return [
            Patch(trainer, "Trainer.__init__", self._around_init),
            Patch(trainer, "_log_hyperparams", self._around_log_hyperparams),
            Patch(
                f"{root}.trainer.connectors.checkpoint_connector",
                "_CheckpointConnector.restore_training_state",
                self._around_restore,
            ),
            Patch(trainer, "Trainer._run_stage", self._around_stage),
            Patch(f"{root}.loops.fit_loop", "_FitLoop.on_run_start", self._around_loop),
            Patch(f"{root}.loops.evaluation_loop", "_EvaluationLoop.on_run_start", self._around_loop),
        ]

    def _begin(self, trainer: Any, fit: Fit) -> None:
        """A fit begins: everything about it is recorded with it, whatever earlier ones had."""
        if fit.kind != "fit" or fit.number == self._fit:
            return
        if self._fit:
            self._told.clear()
        self._fit = fit.number
        self._tell(self._arguments.get(trainer, {}), "trainer", "trainer/")

    def _tell(self, values: Mapping[Any, Any], source: str, prefix: str = "") -> None:
        fresh = {
            f"{prefix}{name}": value
            for name, value in flatten(values).items()
            if name not in INTERNAL and self._is_new(source, f"{prefix}{name}", value)
        }
        if fresh:
            self._told.update({(by, name): value for by in (source, "") for name, value in fresh.items()})
            fit = self._sink.fits.current()
            place = "" if fit else f"{source}:{prefix}"
            for part in split_values(fresh):
                self._sink.emit(Params(time=time.time_ns() // 1000, values=part, source=source, fit=fit, place=place))

    def tell_module(self, module: Any) -> None:
        """Record the hyperparameters of a module that no Trainer has."""
        self._tell(_hparams(module), "module")

    def tell_fabric(self, fabric: Any, module: Any) -> None:
        """Record what a Fabric runs on, and the hyperparameters of the module that it sets up."""
        setup: dict[str, Any] = {
            "precision": fabric._precision.precision,
            "strategy": type(fabric.strategy).__name__,
            "accelerator": type(fabric._accelerator).__name__,
            "world_size": fabric.world_size,
        }
        seed = os.environ.get("PL_GLOBAL_SEED", "")
        if seed:
            setup["seed"] = int(seed) if seed.isdigit() else seed
        self._tell(setup, "fabric", "setup/")
        self.tell_module(module)

    def _is_new(self, source: str, name: str, value: Scalar) -> bool:
        """Whether the source says something else than before; one that comes later repeats what others have said."""
        return _differs(self._told.get((source, name), self._told.get(("", name), _NEVER)), value)

    def _around_init(self, original: Function) -> Function:
        signature = inspect.signature(original)

        def __init__(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(trainer, *args, **kwargs)
            with guard("recording the trainer's arguments"):
                given = dict(signature.bind(trainer, *args, **kwargs).arguments)
                given.pop("self", None)
                self._tell_arguments(trainer, given)
                self._loggers.watch(trainer)
            return result

        return __init__

    def _tell_arguments(self, trainer: Any, given: Mapping[str, Any]) -> None:
        self._known.add(trainer)
        # The first trainer uses the short names; a later one adds only arguments that differ.
        index = self._trainer_calls.index_of(trainer)
        values = self._arguments[trainer] = flatten(described_arguments(given))
        running = self._trainer_calls.is_running(trainer) and self._trainer_calls.fit_of(trainer).kind == "fit"
        if running:
            self._tell(values, "trainer", "trainer/")
            return
        if index > 1:
            values = {
                name: value for name, value in values.items()
                if self._is_new("trainer", f"trainer/{name}", value)
            }  # fmt: skip
        self._tell(values, "trainer", "trainer/" if index == 1 else f"trainer/{index}/")

    def _around_log_hyperparams(self, original: Function) -> Function:
        def log_hyperparams(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("recording hyperparameters"):
                self._loggers.watch(trainer)
                self._tell_hparams(trainer)
            return original(trainer, *args, **kwargs)

        return log_hyperparams

    def _tell_hparams(self, trainer: Any) -> None:
        """The result of `save_hyperparameters`, unless the user excluded it from loggers."""
        module, data = trainer.lightning_module, trainer.datamodule
        given = _hparams(module)
        if data is not None:
            own = _hparams(data)
            self._tell({name: value for name, value in own.items() if name not in given}, "datamodule")
            both = {name: value for name, value in own.items() if name in given}
            self._tell(both, "datamodule", "datamodule/")
        self._tell(given, "module")

    def _around_restore(self, original: Function) -> Function:
        def restore_training_state(connector: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("recording the configured optimizers"):
                # A checkpoint replaces the configured rates by those that the schedulers had reached.
                trainer = connector.trainer
                if trainer.ckpt_path and trainer.state.fn is not None and trainer.state.fn.value == "fit":
                    self._trainer_calls.fit_of(trainer).cache[OPTIMIZERS] = describe_optimizers(trainer)
            return original(connector, *args, **kwargs)

        return restore_training_state

    def _around_stage(self, original: Function) -> Function:
        def run_stage(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("recording how the trainer was set up"):
                if not self._trainer_calls.fit_of(trainer).trials:
                    self._loggers.watch(trainer)
                    self._tell_setup(trainer)
                    self.on_setup(trainer)
            return original(trainer, *args, **kwargs)

        return run_stage

    def _tell_setup(self, trainer: Any) -> None:
        module = trainer.lightning_module
        # In a launched process, the launching process has created the trainer and recorded its arguments.
        if trainer not in self._known and not self._trainer_calls.launched:
            shown = {name: getattr(trainer, name, None) for name in READABLE}
            self._tell_arguments(trainer, {name: value for name, value in shown.items() if value is not None})
        setup: dict[str, Any] = {
            "precision": trainer.precision,
            "strategy": type(trainer.strategy).__name__,
            "accelerator": type(trainer.accelerator).__name__,
            "devices": trainer.num_devices,
            "nodes": trainer.num_nodes,
            "world_size": trainer.world_size,
        }
        seed = os.environ.get("PL_GLOBAL_SEED", "")
        if seed:
            setup["seed"] = int(seed) if seed.isdigit() else seed
        self._tell(setup, "trainer", "setup/")
        if trainer.state.fn is not None and trainer.state.fn.value == "fit":
            configured = self._trainer_calls.fit_of(trainer).cache.pop(OPTIMIZERS, None)
            self._tell(configured or describe_optimizers(trainer), "optimizer")
        facts = describe_model(module)
        counts = {name: facts[name] for name in ("class", "parameters", "trainable_parameters")}
        if any(self._is_new("model", f"model/{name}", value) for name, value in counts.items()):
            self._tell(counts, "model", "model/")
            fit = self._sink.fits.current()
            self._sink.emit(Facts(time=time.time_ns() // 1000, topic="model", values=facts, fit=fit))

    def _around_loop(self, original: Function) -> Function:
        def on_run_start(loop: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("recording the data loaders"):
                self._tell_loaders(loop)
            return original(loop, *args, **kwargs)

        return on_run_start

    def _tell_loaders(self, loop: Any) -> None:
        trainer, loaders = loop.trainer, loop._combined_loader
        fit = self._trainer_calls.fit_of(trainer)
        stage = str(getattr(trainer.state.stage, "value", "train")).replace("sanity_check", "validate")
        if fit.trials or loaders is None or fit.cache.get(("loaders", stage)) is loaders:
            return
        fit.cache["loaders", stage] = loaders
        found = loaders.flattened
        for index, loader in enumerate(found):
            place = f"data/{stage}/" if len(found) == 1 else f"data/{stage}/{index}/"
            self._tell(_describe_loader(loader), "data", place)


def _differs(told: object, value: object) -> bool:
    # `1 == True == 1.0`, and NaN differs from itself: compare the text and the type.
    return told is not value and (type(told) is not type(value) or repr(told) != repr(value))


def _hparams(holder: Any) -> dict[str, Any]:
    """Read directly from the mixin's attributes: its properties would create or copy them."""
    if not getattr(holder, "_log_hyperparams", False):
        return {}
    kept = {**_as_dict(vars(holder).get("_hparams_initial")), **_as_dict(vars(holder).get("_hparams"))}
    return {name: value for name, value in kept.items() if name not in INTERNAL}


def _as_dict(values: Any) -> dict[str, Any]:
    found = mapping_of(values)
    return {str(name): attempt(partial(found.__getitem__, name), unreadable) for name in found} if found else {}


def _describe_loader(loader: Any) -> dict[str, Any]:
    size = getattr(loader, "batch_size", None)
    if size is None:
        size = getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    found = {"batch_size": size, "workers": getattr(loader, "num_workers", None)}
    return {name: value for name, value in found.items() if isinstance(value, int)}
