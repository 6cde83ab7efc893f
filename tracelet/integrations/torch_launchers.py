"""Detects launched ranks and a process's own rank: `torch.multiprocessing`, `torch.distributed`.

Started and stopped by the session. The wrappers run on the user's threads. They call no collective and nothing that
waits for another rank: the rank and the world size are read after `init_process_group` has returned.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.patching import Function, Patch, Patcher

WrapRankFunction = Callable[[Any, int], Any]
"""(function, number of processes) -> the function that each of them calls instead"""
SetRank = Callable[[int, int], None]
"""(rank, world size) of this process"""


class Launchers:
    """The patches that let launched processes record as ranks of the run."""

    def __init__(self, prepare: WrapRankFunction, set_rank: SetRank) -> None:
        self._wrap = prepare
        self._set_rank = set_rank
        self._patcher: Patcher | None = None

    def start(self) -> None:
        """Patch imported modules and wait for the others; an existing process group counts."""
        self._patcher = Patcher(self._patches())
        self._patcher.apply()
        self._look()

    def stop(self) -> None:
        """Revert everything."""
        patcher, self._patcher = self._patcher, None
        if patcher is not None:
            patcher.revert()

    def _patches(self) -> Iterable[Patch]:
        # Each function is in the module that defines it and in the package from which people import it.
        for module in ("torch.multiprocessing.spawn", "torch.multiprocessing"):
            yield Patch(module, "start_processes", self._around_start, optional=True)
        for module in ("torch.distributed.distributed_c10d", "torch.distributed"):
            yield Patch(module, "init_process_group", self._around_init, optional=True)

    def _around_start(self, original: Function) -> Function:
        def start_processes(fn: Any, args: Any = (), nprocs: int = 1, *rest: Any, **kwargs: Any) -> Any:
            prepared = fn
            with guard("preparing the start of ranks"):
                prepared = self._wrap(fn, nprocs)
            return original(prepared, args, nprocs, *rest, **kwargs)

        return start_processes

    def _around_init(self, original: Function) -> Function:
        def init_process_group(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            with guard("reading the rank"):
                self._look()
            return result

        return init_process_group

    def _look(self) -> None:
        found = group_place()
        if found is not None:
            self._set_rank(*found)


def group_place() -> tuple[int, int] | None:
    """(rank, world size) in this process's default process group; None if it has none."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not getattr(distributed, "is_initialized", bool)():
        return None
    return int(distributed.get_rank()), int(distributed.get_world_size())
