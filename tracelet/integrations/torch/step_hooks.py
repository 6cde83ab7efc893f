"""PyTorch's own hooks around the step of every optimizer, installed and removed like a patch.

Called on the training thread. While PyTorch's compiler traces a step, the hooks do nothing: a compiled step stays one
graph, and is not recorded. For that, this file alone is not skipped by the compiler; see `compiler_skips`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from tracelet.integrations.patching import Patch

Hook = Callable[[Any], None]


@dataclass
class StepHooks(Patch):
    """Registers a pair of hooks once torch is imported completely; each is called with the optimizer."""

    before: Hook = lambda _: None
    after: Hook = lambda _: None
    handles: list[Any] = field(default_factory=list)

    @property
    def applied(self) -> bool:
        """Whether it is in place."""
        return bool(self.handles)

    def apply(self, module: ModuleType) -> None:
        """Register them."""
        compiler, optimizer = sys.modules.get("torch.compiler"), sys.modules.get("torch.optim.optimizer")
        compiling = getattr(compiler, "is_compiling", bool)
        register = getattr(optimizer, "register_optimizer_step_pre_hook", None)
        if self.active and not self.handles and optimizer is not None and register is not None:
            self.handles = [
                register(_hook(self.before, compiling)),
                optimizer.register_optimizer_step_post_hook(_hook(self.after, compiling)),
            ]

    def suspend(self) -> None:
        """Remove them temporarily."""
        self.active = False
        self.revert()

    def resume(self) -> None:
        """Register them again."""
        self.active = True
        module = sys.modules.get(self.module)
        if module is not None:
            self.apply(module)

    def revert(self) -> None:
        """Remove them."""
        while self.handles:
            self.handles.pop().remove()


def _hook(call: Hook, compiling: Callable[[], bool]) -> Callable[..., None]:
    def hook(optimizer: Any, *_: Any) -> None:
        if not compiling():
            call(optimizer)

    return hook
