"""Who asked a trainer to stop: the callback, module or function that set `trainer.should_stop`.

`Trainer.should_stop` is a plain attribute that any code may set. While we record, it is a property over the same entry
of the trainer's dictionary, so nothing changes for its readers. Called on the thread that sets it; only the change to
True looks at the call stack.
"""

from __future__ import annotations

import inspect
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType, FrameType, ModuleType
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.lightning.trainer_calls import Fit, TrainerCalls
from tracelet.integrations.patching import Function, Patch

ATTRIBUTE = "should_stop"
CALLS = ".trainer.call"
"""The end of the name of Lightning's module that calls hooks: frames outside it are the trainer's own."""


@dataclass
class StopRequest:
    """The first request to stop a fit that has not been withdrawn."""

    by: str
    """The class of a callback, or the function that asked."""
    callback: weakref.ref[Any] | None
    epoch: int
    step: int
    time: int
    """Microseconds since the epoch."""
    reported: bool = False
    """Whether an event tells of it."""


@dataclass
class PropertyPatch(Patch):
    """Installs a property in place of a plain attribute of instances, and removes it again."""

    changed: Callable[[Any, Any, Any], None] | None = None
    """Called with the object, and its value before and after."""
    installed: list[tuple[type, property]] = field(default_factory=list)

    @property
    def applied(self) -> bool:
        """Whether it is in place."""
        return bool(self.installed)

    def apply(self, module: ModuleType) -> None:
        """Install it, unless the class has such an attribute of its own."""
        kind, name = self.target.split(".")
        owner = vars(module).get(kind)
        if isinstance(owner, type) and not any(name in vars(base) for base in owner.__mro__):
            made = _observed(name, self._tell)
            setattr(owner, name, made)
            self.installed.append((owner, made))

    def revert(self) -> None:
        """Remove it: the instances have their values."""
        while self.installed:
            owner, made = self.installed.pop()
            if vars(owner).get(made.__doc__ or "") is made:
                delattr(owner, made.__doc__ or "")

    def _tell(self, holder: Any, before: Any, after: Any) -> None:
        if self.changed is not None:
            self.changed(holder, before, after)


def _observed(name: str, changed: Callable[[Any, Any, Any], None]) -> property:
    def get(holder: Any) -> Any:
        try:
            return holder.__dict__[name]
        except KeyError:
            raise AttributeError(f"{type(holder).__name__!r} object has no attribute {name!r}") from None

    def put(holder: Any, value: Any) -> None:
        before = holder.__dict__.get(name)
        holder.__dict__[name] = value
        if before is not value:
            changed(holder, before, value)

    def remove(holder: Any) -> None:
        get(holder)
        del holder.__dict__[name]

    return property(get, put, remove, name)


class StopRequests:
    """Keeps the request to stop in the fit that it concerns."""

    def __init__(self, trainer_calls: TrainerCalls) -> None:
        self._trainer_calls = trainer_calls

    def patches(self, root: str) -> list[Patch]:
        """The attribute that stops a training, for one distribution of Lightning."""
        return [PropertyPatch(f"{root}.trainer.trainer", f"Trainer.{ATTRIBUTE}", _same, changed=self._changed)]

    def _changed(self, trainer: Any, before: Any, after: Any) -> None:
        with guard("following a request to stop"):
            if not self._trainer_calls.recording or not self._trainer_calls.is_running(trainer):
                return
            cache = self._trainer_calls.fit_of(trainer).cache
            if not after:
                cache.pop(ATTRIBUTE, None)
            elif not before:
                by, callback = requester(sys._getframe(1))
                cache[ATTRIBUTE] = StopRequest(
                    by, weakref.ref(callback) if callback is not None else None, trainer.current_epoch,
                    trainer.global_step, time.time_ns() // 1000,
                )  # fmt: skip


def request_of(fit: Fit) -> StopRequest | None:
    """The request to stop this fit, if there is one."""
    found: StopRequest | None = fit.cache.get(ATTRIBUTE)
    return found


def requester(frame: FrameType | None) -> tuple[str, Any]:
    """What asked, found from its frame outwards, and the callback if it is one."""
    caller = ""
    while frame is not None and not str(frame.f_globals.get("__name__", "")).endswith(CALLS):
        if frame.f_code.co_filename != __file__:
            caller = caller or f"{frame.f_globals.get('__name__', '')}.{_name(frame.f_code)}"
            first, second = _first_arguments(frame)
            if isinstance(second, FrameType) and second is frame.f_back:
                return f"signal {first}", None  # Python's call of a handler: it interrupted the frames outside it
            if _is_a(first, "Callback"):
                return type(first).__name__, first
            if _is_a(first, "LightningModule"):
                return f"{type(first).__name__}.{frame.f_code.co_name}", None
        frame = frame.f_back
    return caller, None


def _name(code: CodeType) -> str:
    return str(getattr(code, "co_qualname", code.co_name))


def _first_arguments(frame: FrameType) -> tuple[Any, Any]:
    """The first two positional arguments of the call, or None."""
    code, values = frame.f_code, frame.f_locals
    given = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & inspect.CO_VARARGS:
        given += values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ())
    return tuple((given + [None, None])[:2])  # type: ignore[return-value]


def _is_a(holder: Any, name: str) -> bool:
    """By class name: each of the two distributions has such a class."""
    return any(base.__name__ == name for base in type(holder).__mro__)


def _same(original: Function) -> Function:
    return original
