"""Wraps one function in one place: the wrapper looks like the original, and is removed without a trace.

Used by `tracelet.integrations.patching`, on the thread that starts or stops a run; the wrappers run on the user's
threads. Knows nothing of modules or imports.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]

UNOWNED: Any = object()
"""Means "the class had no attribute of its own": reverting deletes ours."""


class Switch:
    """The target of a dispatcher: the wrapper, or the original once the patch has been reverted."""

    __slots__ = ("dispatcher", "live", "original", "raw", "target")

    def __init__(self, original: Function, raw: Any) -> None:
        self.dispatcher: Function | None = None
        self.original = original
        self.raw = raw
        self.target = original
        self.live = False

    def turn_on(self, wrapper: Function) -> None:
        """Route calls to the wrapper."""
        self.target = wrapper
        self.live = True

    def turn_off(self) -> None:
        """Route calls directly to the original, for callers that keep or have wrapped the dispatcher."""
        self.target = self.original
        self.live = False


def _dispatcher(switch: Switch) -> Function:
    def dispatch(*args: Any, **kwargs: Any) -> Any:
        return switch.target(*args, **kwargs)

    return dispatch


def _with_metadata_of(function: Any, switch: Switch) -> Function:
    """The function, with the original's metadata."""
    functools.update_wrapper(function, switch.original)
    try:
        # getfullargspec ignores __wrapped__ but honors this; real clients build arguments from it.
        function.__signature__ = inspect.signature(switch.original)
    except (TypeError, ValueError):
        pass  # a C function without a signature has none when wrapped either
    function.__tracelet_switch__ = switch
    switch.dispatcher = function
    disguised: Function = function
    return disguised


def _function_of(raw: Any) -> Any:
    return raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw


def _switch_of(raw: Any) -> Switch | None:
    function = _function_of(raw)
    found = getattr(function, "__dict__", {}).get("__tracelet_switch__")
    # If somebody applies functools.wraps to our dispatcher, it copies the attribute, but the wrapper is theirs.
    return found if isinstance(found, Switch) and found.dispatcher is function else None


def _raw_attribute(owner: Any, name: str) -> tuple[Any, Any]:
    """(the entry in the owner's own dictionary or `UNOWNED`, the unbound result of a lookup through the bases)."""
    own = vars(owner).get(name, UNOWNED)
    if own is not UNOWNED or not isinstance(owner, type):
        return own, own
    for base in owner.__mro__[1:]:
        if name in vars(base):
            return UNOWNED, vars(base)[name]
    return UNOWNED, UNOWNED


class AppliedPatch:
    """One wrapper in one place."""

    def __init__(self, owner: Any, name: str, own: Any, switch: Switch, replacement: Any) -> None:
        self.owner = owner
        self.name = name
        self.own = own
        self.switch = switch
        self.replacement = replacement
        self.suspended = False

    def revert(self) -> None:
        """Restore the raw attribute, delete ours if there was none, or disable ours if somebody has wrapped it."""
        self.switch.turn_off()
        if self.on_top:
            self._restore_original()

    @property
    def on_top(self) -> bool:
        """Whether nobody has wrapped our wrapper."""
        return vars(self.owner).get(self.name) is self.replacement

    def suspend(self) -> None:
        """Temporarily restore the original, unless somebody has wrapped ours."""
        if self.on_top:
            self._restore_original()
            self.suspended = True

    def resume(self) -> bool:
        """Reinstall the wrapper after `suspend`; False if somebody has replaced the attribute in the meantime."""
        if not self.suspended:
            return True
        if vars(self.owner).get(self.name, UNOWNED) is not self.own:
            self.switch.turn_off()
            return False
        setattr(self.owner, self.name, self.replacement)
        self.suspended = False
        return True

    def _restore_original(self) -> None:
        own = self.own
        # The original may be a dispatcher of ours that was reverted in the meantime: use the function that it wraps.
        while (under := _switch_of(own)) is not None and not under.live:
            own = under.raw
        if own is UNOWNED:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, own)


def apply(
    owner: Any, name: str, make_wrapper: Callable[[Function], Function], direct: bool = False
) -> AppliedPatch | None:
    """Wrap `owner.name` now; None if there is no such function. For `direct` see `Patch`."""
    own, found = _raw_attribute(owner, name)
    original = _function_of(found)
    if not callable(original):
        return None
    switch = Switch(original, own)
    wrapper = make_wrapper(original)
    replacement: Any = _with_metadata_of(wrapper if direct and wrapper is not original else _dispatcher(switch), switch)
    if isinstance(found, (staticmethod, classmethod)):
        replacement = type(found)(replacement)
    switch.turn_on(wrapper)
    setattr(owner, name, replacement)
    return AppliedPatch(owner, name, own, switch, replacement)
