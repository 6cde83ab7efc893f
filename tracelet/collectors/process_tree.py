"""Finds the processes that belong to a training: one and its descendants. Used by the collectors, on their thread.

It looks at the process table and changes nothing in it. A process that ends meanwhile, or is not ours to look at, is
left out.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


def root_pid() -> int:
    """The root of this node's training: torchrun, where it has started us and our fellow ranks, else ourselves."""
    return os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else os.getpid()


def tree(pid: int) -> list[psutil.Process]:
    """The process and its descendants, as many as can be seen."""
    import psutil

    try:
        root = psutil.Process(pid)
        return [root, *_descendants(root)]
    except psutil.Error:
        return []


def _descendants(root: psutil.Process) -> list[psutil.Process]:
    import psutil

    if not _kernel_lists_children(root.pid):
        return root.children(recursive=True)
    found: list[psutil.Process] = []
    waiting = _children(root.pid)
    while waiting:
        pid = waiting.pop()
        try:
            found.append(psutil.Process(pid))
        except psutil.Error:
            continue
        waiting += _children(pid)
    return found


def _kernel_lists_children(pid: int) -> bool:
    # psutil reads every process of the machine instead: on a shared node with thousands of them that takes too long.
    return sys.platform == "linux" and os.path.exists(f"/proc/{pid}/task/{pid}/children")


def _children(pid: int) -> list[int]:
    """The children that each thread of a process has started."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as children:
                found += map(int, children.read().split())
    except OSError:
        pass  # a thread, or all of it, has ended meanwhile
    return found
