"""Keeps `torch.compile` from compiling tracelet: our frames run unchanged, and cause no additional graph breaks.

Applied when PyTorch's compiler is imported, on the importing thread. Between the graphs of a compiled function the
compiler examines every Python frame that runs, and would trace our wrappers as if they were the model's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tracelet.integrations.parameter_source import OURS
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.torch import step_hooks


@dataclass
class CompilerSkips(Patch):
    """Adds our files to those that the compiler skips, like PyTorch's own and the standard library's."""

    added: list[str] = field(default_factory=list)

    @property
    def applied(self) -> bool:
        """Whether it is in place."""
        return bool(self.added)

    def apply(self, module: ModuleType) -> None:
        """Add them."""
        if isinstance(getattr(module, "SKIP_DIRS", None), list) and hasattr(module, "_recompile_re") and not self.added:
            self.added = list(_all_but(Path(step_hooks.__file__), Path(OURS)))
            module.SKIP_DIRS.extend(self.added)
            module._recompile_re()

    def revert(self) -> None:
        """Remove them."""
        module: Any = sys.modules.get(self.module)
        added, self.added = self.added, []
        if added and module is not None:
            module.SKIP_DIRS[:] = [place for place in module.SKIP_DIRS if place not in added]
            module._recompile_re()


def _all_but(file: Path, folder: Path) -> Iterator[str]:
    """The files and folders of a folder, except one file."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path in file.parents:
            yield from _all_but(file, path)
        elif path != file and (path.is_dir() or path.suffix == ".py"):
            yield str(path)


def compiler_skips() -> Patch:
    """The compiler's only list of files to skip."""
    return CompilerSkips("torch._dynamo.trace_rules", "SKIP_DIRS", _same, optional=True)


def _same(original: Function) -> Function:
    return original
