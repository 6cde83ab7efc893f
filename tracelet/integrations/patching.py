"""Patches: replace one attribute of a class or module by a wrapper, and later restore exactly the original.

Used by `tracelet.integrations.base.Integration`, on the thread that starts or stops a run; the wrappers run on the
user's threads. A patch of a module that is not imported yet is applied when that module has finished executing, through
a finder of ours in `sys.meta_path` that `Patcher.revert` removes. Nothing here imports the patched modules, and nothing
here decides what a wrapper does.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from tracelet.guard import guard, say
from tracelet.integrations.function_wrapper import UNOWNED, AppliedPatch, Function, apply

__all__ = ["Function", "Patch", "Patcher", "PatchGroup", "reset_lock"]

patch_lock = threading.RLock()
"""Held while patches are applied, suspended or restored, because another thread may import or train at that time."""


def reset_lock() -> None:
    """In a forked child: the lock may have been held by a thread that does not exist there."""
    global patch_lock
    patch_lock = threading.RLock()


@dataclass
class Patch:
    """One attribute to wrap: `Patch("package.module", "Class.method", make_wrapper)`.

    `make_wrapper(original)` returns the function that is called instead; for a static or class method `original` is the
    function inside. `optional`: not every version of the library has it, so its absence is not reported. `direct`:
    installs the wrapper itself, without a dispatcher, which saves a call in hot code; the wrapper must then disable
    itself.
    """

    module: str
    target: str
    make_wrapper: Callable[[Function], Function]
    optional: bool = False
    direct: bool = False
    active: bool = True
    """Whether the wrapper is installed as soon as it is applied; see `PatchGroup`."""
    applications: list[AppliedPatch] = field(default_factory=list)

    @property
    def applied(self) -> bool:
        """Whether it has found its place."""
        return bool(self.applications)

    def apply(self, module: ModuleType) -> None:
        """Wrap the attribute in this module, once for each class object in which it is found."""
        *path, name = self.target.split(".")
        owner: Any = module
        for step in path:
            owner = vars(owner).get(step, UNOWNED)
        if owner is not UNOWNED:
            if any(done.owner is owner and done.on_top for done in self.applications):
                return
            done = apply(owner, name, self.make_wrapper, self.direct)
            if done is not None:
                self.applications.append(done)
                if not self.active:
                    done.suspend()
                return
        if not self.optional and not _is_executing(module):
            say(
                f"{self.module} has no {self.target}: tracelet does not support this version. Training "
                "continues; what this patch would record is missing. Update tracelet, or the library.",
                once=f"patch:{self.module}:{self.target}",
            )

    def suspend(self) -> None:
        """Temporarily remove the wrappers that nobody has wrapped; the caller holds `patch_lock`."""
        self.active = False
        for done in self.applications:
            done.suspend()

    def resume(self) -> None:
        """Reinstall them; if somebody has wrapped the original in the meantime, wrap that. Requires the lock, as
        `suspend` does.
        """
        self.active = True
        for done in tuple(self.applications):
            if not done.resume():
                self.applications.remove(done)
                module = sys.modules.get(self.module)
                if module is not None:
                    self.apply(module)

    def revert(self) -> None:
        """Undo every application, the last one first."""
        while self.applications:
            self.applications.pop().revert()


class PatchGroup:
    """Patches that are installed only while a user needs them, on any thread, so that others do not pay for them."""

    def __init__(self, needed: int) -> None:
        self.patches: list[Patch] = []
        self._needed = needed

    def add(self, patches: Iterable[Patch]) -> None:
        """Manage these patches, too."""
        self.patches += patches
        self.adjust_users(0)

    def adjust_users(self, change: int) -> None:
        """Change the number of users. The patches are installed while it is above 0."""
        with patch_lock:
            self._needed += change
            for patch in self.patches:
                patch.resume() if self._needed > 0 else patch.suspend()


def _is_executing(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


class _Loader(importlib.abc.Loader):
    """Executes a module with its real loader, then applies our patches. The module never sees it."""

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
    """Asks the other finders for the modules that we wait for and adds our loader; finds no other module."""

    def __init__(self, awaited: frozenset[str], executed: Callable[[ModuleType], None]) -> None:
        self._awaited = awaited
        self._executed = executed

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._awaited or self not in sys.meta_path:
            return None
        # The finders before us have been asked already, and another of our finders would ask us again.
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
        """Patch imported modules and wait for the others."""
        with patch_lock:
            if self._active:
                return
            self._active = True
            sys.meta_path.insert(0, self._finder)
            for name in self._patches:
                module = sys.modules.get(name)
                if module is not None:
                    self._executed(module)

    def revert(self) -> None:
        """Revert everything, the last patch first, and stop waiting."""
        with patch_lock:
            if not self._active:
                return
            self._active = False
            if self._finder in sys.meta_path:
                sys.meta_path.remove(self._finder)
            for patches in reversed(list(self._patches.values())):
                for patch in reversed(patches):
                    with guard(f"unpatching {patch.module}.{patch.target}"):
                        patch.revert()

    def states(self) -> list[tuple[str, str, str]]:
        """(module, target, state) of each patch: `patched`, `missing` in this version, or `waiting` for an import."""
        return [
            (name, patch.target, "patched" if patch.applied else "missing" if name in sys.modules else "waiting")
            for name, patches in self._patches.items()
            for patch in patches
        ]

    def _executed(self, module: ModuleType) -> None:
        with patch_lock:
            if not self._active:
                return
            for patch in self._patches.get(module.__name__, ()):
                with guard(f"patching {patch.module}.{patch.target}"):
                    patch.apply(module)
