"""Patches: replace one attribute of a class or module by a wrapper, and put back exactly what was there.

Used by `tracelet.integrations.base.Integration`, on the thread that starts or stops a run; the wrappers run on the
user's threads. A patch of a module that is not imported yet is applied when that module has finished executing,
through a finder of ours in `sys.meta_path` that leaves with `Patcher.revert`. Nothing here imports what it patches,
and nothing here decides what a wrapper does.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from tracelet.guard import guard, say

Function = Callable[..., Any]

_UNOWNED: Any = object()
"""Stands for "the class had no attribute of its own": putting back means deleting ours."""

_lock = threading.RLock()
"""Applying and reverting may meet an import on another thread."""


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


def _disguised(function: Any, switch: Switch) -> Function:
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
    """(what stands in the owner's own dictionary or `_UNOWNED`, what a lookup through the bases finds unbound)."""
    own = vars(owner).get(name, _UNOWNED)
    if own is not _UNOWNED or not isinstance(owner, type):
        return own, own
    for base in owner.__mro__[1:]:
        if name in vars(base):
            return _UNOWNED, vars(base)[name]
    return _UNOWNED, _UNOWNED


class Application:
    """One wrapper in one place."""

    def __init__(self, owner: Any, name: str, own: Any, switch: Switch, placed: Any) -> None:
        self.owner = owner
        self.name = name
        self.own = own
        self.switch = switch
        self.placed = placed

    def revert(self) -> None:
        """Put the raw attribute back, delete ours where there was none, or go inert where somebody wrapped over us."""
        self.switch.turn_off()
        if vars(self.owner).get(self.name) is not self.placed:
            return
        own = self.own
        # What we covered may be a dispatcher of ours that was reverted meanwhile: it covers the real one.
        while (under := _switch_of(own)) is not None and not under.live:
            own = under.raw
        if own is _UNOWNED:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, own)


def apply(
    owner: Any, name: str, make_wrapper: Callable[[Function], Function], direct: bool = False
) -> Application | None:
    """Wrap `owner.name` now; None when there is no such function. For `direct` see `Patch`."""
    own, found = _raw_attribute(owner, name)
    original = _function_of(found)
    if not callable(original):
        return None
    switch = Switch(original, own)
    wrapper = make_wrapper(original)
    placed: Any = _disguised(wrapper if direct and wrapper is not original else _dispatcher(switch), switch)
    if isinstance(found, (staticmethod, classmethod)):
        placed = type(found)(placed)
    switch.turn_on(wrapper)
    setattr(owner, name, placed)
    return Application(owner, name, own, switch, placed)


@dataclass
class Patch:
    """One attribute to wrap: `Patch("package.module", "Class.method", make_wrapper)`.

    `make_wrapper(original)` returns the function that is called instead; for a static or class method `original` is
    the function inside. `optional`: not every version of the library has it, so its absence is not worth a word.
    `direct`: the wrapper itself is put in place, which saves a call where every nanosecond counts; it must go inert
    by itself.
    """

    module: str
    target: str
    make_wrapper: Callable[[Function], Function]
    optional: bool = False
    direct: bool = False
    applications: list[Application] = field(default_factory=list)

    def apply(self, module: ModuleType) -> None:
        """Wrap the attribute in this module, once for each class object that it is found in."""
        *path, name = self.target.split(".")
        owner: Any = module
        for step in path:
            owner = vars(owner).get(step, _UNOWNED)
        if owner is not _UNOWNED:
            if any(done.owner is owner and vars(owner).get(name) is done.placed for done in self.applications):
                return
            done = apply(owner, name, self.make_wrapper, self.direct)
            if done is not None:
                self.applications.append(done)
                return
        if not self.optional and not _is_executing(module):
            say(
                f"{self.module} has no {self.target}: this version is newer or older than tracelet knows. Training "
                "goes on; what this patch would have recorded is missing. Look for a newer tracelet.",
                once=f"patch:{self.module}:{self.target}",
            )

    def revert(self) -> None:
        """Undo every application, the last one first."""
        while self.applications:
            self.applications.pop().revert()


def _is_executing(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


class _Loader(importlib.abc.Loader):
    """Executes a module with its real loader, then applies our patches. Gone from sight before the module's code
    runs.
    """

    def __init__(self, real: Any, executed: Callable[[ModuleType], None]) -> None:
        self._real = real
        self._executed = executed

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._real.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._real
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        self._real.exec_module(module)
        self._executed(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Finder(importlib.abc.MetaPathFinder):
    """Asks the other finders for the modules that we wait for and lends them our loader; knows no other module."""

    def __init__(self, awaited: frozenset[str], executed: Callable[[ModuleType], None]) -> None:
        self._awaited = awaited
        self._executed = executed

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._awaited or self not in sys.meta_path:
            return None
        # Those before us have been asked already, and another of our finders would ask us again.
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)
            if find is None:
                continue
            spec: importlib.machinery.ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self._executed)
                return spec
        return None


class Patcher:
    """Applies a table of patches, now or when their modules are imported, and reverts them all."""

    def __init__(self, patches: Iterable[Patch]) -> None:
        self._patches: dict[str, list[Patch]] = {}
        for patch in patches:
            self._patches.setdefault(patch.module, []).append(patch)
        self._finder = _Finder(frozenset(self._patches), self._executed)
        self._active = False

    def apply(self) -> None:
        """Patch the modules that are there and wait for the others."""
        with _lock:
            if self._active:
                return
            self._active = True
            sys.meta_path.insert(0, self._finder)
            for name in self._patches:
                module = sys.modules.get(name)
                if module is not None:
                    self._executed(module)

    def revert(self) -> None:
        """Put everything back, the last patch first, and stop waiting."""
        with _lock:
            if not self._active:
                return
            self._active = False
            if self._finder in sys.meta_path:
                sys.meta_path.remove(self._finder)
            for patches in reversed(list(self._patches.values())):
                for patch in reversed(patches):
                    with guard(f"unpatching {patch.module}.{patch.target}"):
                        patch.revert()

    def _executed(self, module: ModuleType) -> None:
        with _lock:
            if not self._active:
                return
            for patch in self._patches.get(module.__name__, ()):
                with guard(f"patching {patch.module}.{patch.target}"):
                    patch.apply(module)
