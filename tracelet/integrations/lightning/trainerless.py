"""`LightningModule.log` without a Trainer or Fabric that takes the value: steps are counted per name.

Called on the user's thread. Lightning itself warns and drops such values, and still does: they are recorded before. A
framework that sets its own `log` or `log_dict` on the instance is detected through `LightningModule.__setattr__`.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import SeriesKey, Sink
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.patching import Function, Patch, PatchGroup
from tracelet.integrations.tensor_values import detached, is_number
from tracelet.integrations.training_loops import plain

SMALL = 10_000
"""Elements of a torchmetrics state that a copy takes microseconds for."""
REPLACED = ("log", "log_dict")
"""The two methods that other frameworks are known to replace on the instance."""


class TrainerlessLogging:
    """Records values logged by modules in a training loop of the user's own, or of a framework other than Lightning."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls) -> None:
        self._emit = sink.emit
        self._trainer_calls = trainer_calls
        self._keys: dict[str, SeriesKey] = {}
        self._inside: set[int] = set()
        """Modules whose replaced `log` is running: what it calls in turn is recorded already."""
        self._recorded: weakref.WeakSet[RecordedLog] = weakref.WeakSet()
        self._met: weakref.WeakSet[Any] = weakref.WeakSet()
        """Modules that have logged without a trainer."""
        self.on_module: Callable[[Any], None] = lambda module: None
        """Called with each of them, once."""
        self._stopped = False
        self._patch_group = PatchGroup(needed=1)
        """Not needed while a trainer runs: a step logs several values and sets some forty attributes, and frameworks
        that replace `log` have their own loop.
        """

    def patches(self, root: str) -> list[Patch]:
        """`log`, the assignment that would hide it, and the methods that a trainer runs, also in spawned ranks."""
        self._stopped = False
        module = f"{root}.core.module"
        alone = [
            Patch(module, "LightningModule.log", self._around_log, direct=True),
            Patch(module, "LightningModule.__setattr__", self._around_setattr, direct=True),
        ]
        self._patch_group.add(alone)
        return [
            *alone,
            Patch(f"{root}.trainer.trainer", "Trainer._run", self._around_run),
        ]

    def stop(self) -> None:
        """Call the replaced methods directly from now on; instances get them back."""
        self._stopped = True
        self._patch_group.patches.clear()
        for recorded in tuple(self._recorded):
            recorded.release()

    def _around_log(self, original: Function) -> Function:
        def log(module: Any, *args: Any, **kwargs: Any) -> Any:
            if module._trainer is None and module._fabric is None and not self._stopped:
                with guard("capturing a metric logged without a trainer"):
                    if module not in self._met:
                        self._met.add(module)
                        self.on_module(module)
                    if id(module) not in self._inside:
                        self._take(*args, **kwargs)
            return original(module, *args, **kwargs)

        return log

    def _around_run(self, original: Function) -> Function:
        def run(*args: Any, **kwargs: Any) -> Any:
            with guard("resting while a trainer runs"):
                self._patch_group.adjust_users(-1)
                plain.adjust_users(-1)
            try:
                return original(*args, **kwargs)
            finally:
                with guard("waking after a trainer ran"):
                    self._patch_group.adjust_users(1)
                    plain.adjust_users(1)

        return run

    def _around_setattr(self, original: Function) -> Function:
        def setattr_(module: Any, name: str, value: Any) -> None:
            if name in REPLACED and not self._stopped and callable(value) and not isinstance(value, RecordedLog):
                with guard("following a replaced log"):
                    value = RecordedLog(self, module, name, value)
                    self._recorded.add(value)
            original(module, name, value)

        return setattr_

    def take_replaced(self, module: Any, name: str, function: Function, args: Any, kwargs: Any) -> Any:
        """Call the replacement after recording its arguments, unless an outer replacement has recorded them."""
        if id(module) in self._inside or vars(module).get("_trainer") or vars(module).get("_fabric"):
            return function(*args, **kwargs)
        with guard("capturing a metric logged through a replaced log"):
            (self._take if name == "log" else self._take_all)(*args, **kwargs)
        self._inside.add(id(module))
        try:
            # It may pass the value on to one of Lightning's loggers.
            with self._trainer_calls.relaying():
                return function(*args, **kwargs)
        finally:
            self._inside.discard(id(module))

    def _take(self, name: str, value: Any = None, *_: Any, logger: Any = None, **__: Any) -> None:
        if logger is False or not isinstance(name, str):
            return
        if hasattr(value, "_forward_cache"):
            # A torchmetrics object: its last batch's value. Computing the whole is expensive, warns, or syncs with
            # other ranks.
            value = value._forward_cache if value._forward_cache is not None else so_far(value)
        if isinstance(value, Mapping):
            for inner, one in value.items():
                self._take(f"{name}/{inner}", one)
            return
        if is_number(value):
            key = self._keys.get(name)
            if key is None:
                key = self._keys[name] = SeriesKey(name, fit=None, reduce="mean")
            self._emit((key, None, detached(value), time.time(), -1, None))

    def _take_all(self, dictionary: Mapping[str, Any], *_: Any, logger: Any = None, **__: Any) -> None:
        for name, value in dictionary.items():
            self._take(name, value, logger=logger)


class RecordedLog:
    """Replaces an instance's replaced `log`: calls it, and copies or pickles as it."""

    def __init__(self, owner: TrainerlessLogging, module: Any, name: str, function: Function) -> None:
        functools.update_wrapper(self, function)
        self._owner: TrainerlessLogging | None = owner
        self._module = weakref.ref(module)
        self._name = name
        self._function = function
        try:
            self.__signature__ = inspect.signature(function)
        except (TypeError, ValueError):
            pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the replacement, and record the call unless the run is over."""
        module, owner = self._module(), self._owner
        if module is None or owner is None:
            return self._function(*args, **kwargs)
        return owner.take_replaced(module, self._name, self._function, args, kwargs)

    def release(self) -> None:
        """Stop recording and restore the instance's own function."""
        self._owner = None
        module = self._module()
        if module is not None and vars(module).get(self._name) is self:
            vars(module)[self._name] = self._function

    def __reduce__(self) -> Any:
        return _itself, (self._function,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._function, memo)


def so_far(metric: Any) -> Any:
    """The value of a torchmetrics object that was only updated, computed by a copy of it; None where that may cost.

    Lists of predictions grow, other devices and other ranks would be waited for.
    """
    states = [getattr(metric, name) for name in getattr(metric, "_defaults", {})]
    small = all(getattr(state, "is_cpu", False) and state.numel() <= SMALL for state in states)
    if not states or not small or not getattr(metric, "_update_count", 0) or _is_distributed():
        return None
    return copy.deepcopy(metric).compute()


def _is_distributed() -> bool:
    distributed = sys.modules.get("torch.distributed")
    return bool(distributed is not None and distributed.is_available() and distributed.is_initialized())


def _itself(function: Function) -> Function:
    return function
