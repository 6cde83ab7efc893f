"""One wrapper in one place: puts it over a function, looking like it, and takes it away again without a trace.

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
"""Stands for "the class had no attribute of its own": putting back means deleting ours."""


class Switch:
    """What a dispatcher calls: our wrapper, or the original once the patch has been reverted."""

    __slots__ = ("dispatcher", "live", "original", "raw", "target")

    def __init__(self, original: Function, raw: Any) -> None:
        self.dispatcher: Function | None = None
        self.original = original
        self.raw = raw
        self.target = original
        self.live = False

    def turn_on(self, wrapper: Function) -> None:
        """From now on calls go to the wrapper."""
        self.target = wrapper
        self.live = True

    def turn_off(self) -> None:
        """From now on calls pass straight through, for callers that keep or wrapped the dispatcher."""
        self.target = self.original
        self.live = False


def _dispatcher(switch: Switch) -> Function:
    def dispatch(*args: Any, **kwargs: Any) -> Any:
        return switch.target(*args, **kwargs)

    return dispatch


def _with_metadata_of(function: Any, switch: Switch) -> Function:
    """The function, looking like the original."""
    functools.update_wrapper(function, switch.original)
    try:
        # getfullargspec ignores __wrapped__ but honours this; real clients build arguments from it.
        function.__signature__ = inspect.signature(switch.original)
    except (TypeError, ValueError):
        pass  # a function of C without a signature has none when wrapped either
    function.__tracelet_switch__ = switch
    switch.dispatcher = function
    disguised: Function = function
    return disguised


def _function_of(raw: Any) -> Any:
    return raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw


def _switch_of(raw: Any) -> Switch | None:
    function = _function_of(raw)
    found = getattr(function, "__dict__", {}).get("__tracelet_switch__")
    # Somebody's functools.wraps over our dispatcher copies the attribute: that wrapper is theirs all the same.
    return found if isinstance(found, Switch) and found.dispatcher is function else None


def _raw_attribute(owner: Any, name: str) -> tuple[Any, Any]:
    """(what stands in the owner's own dictionary or `UNOWNED`, what a lookup through the bases finds unbound)."""
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
        """Put the raw attribute back, delete ours where there was none, or go inert where somebody wrapped over us."""
        self.switch.turn_off()
        if self.on_top:
            self._restore_original()

    @property
    def on_top(self) -> bool:
        """Whether nobody has wrapped over us."""
        return vars(self.owner).get(self.name) is self.replacement

    def suspend(self) -> None:
        """Put what was there back for a while, unless somebody has wrapped over us."""
        if self.on_top:
            self._restore_original()
            self.suspended = True

    def resume(self) -> bool:
        """Stand in place again after a rest; False where somebody has put something else there meanwhile."""
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
        # What we covered may be a dispatcher of ours that was reverted meanwhile: it covers the real one.
        while (under := _switch_of(own)) is not None and not under.live:
            own = under.raw
        if own is UNOWNED:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, own)


def apply(
    owner: Any, name: str, make_wrapper: Callable[[Function], Function], direct: bool = False
) -> AppliedPatch | None:
    """Wrap `owner.name` now; None when there is no such function. For `direct` see `Patch`."""
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
