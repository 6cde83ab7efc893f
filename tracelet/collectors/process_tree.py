"""Finds the processes of a training: a root process and its descendants. Used by the collectors, on their thread.

It reads the process table and changes nothing. It skips processes that end in the meantime or that it may not read.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


def root_pid() -> int:
    """The root of this node's training: torchrun if it started this process and its fellow ranks, else this process."""
    return os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else os.getpid()


def tree(pid: int) -> list[psutil.Process]:
    """The process and its visible descendants."""
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
    # psutil reads every process of the machine instead: too slow on a shared node with thousands of them.
    return sys.platform == "linux" and os.path.exists(f"/proc/{pid}/task/{pid}/children")


def _children(pid: int) -> list[int]:
    """The children started by each thread of a process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as children:
                found += map(int, children.read().split())
    except OSError:
        pass  # the thread or the whole process ended in the meantime
    return found
