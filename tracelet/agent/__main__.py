"""`python .../tracelet/agent/__main__.py RUN_FOLDER`: the entry point of the agent's process. Started by `supervisor`.

It is run by its path, so that it is found however the training found tracelet. It forks once, so that the agent is not
a child of the training: a program that waits for its children never waits for the agent.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

KINDNESS = 5
"""If both want the same core, the training gets it."""


def _begin() -> None:
    if os.fork():
        os._exit(0)
    os.nice(KINDNESS)
    package = Path(__file__).resolve().parent.parent
    sys.path[0] = str(package.parent)  # Python has put this folder there, whose modules are not top-level modules
    from tracelet.agent import agent

    if package.parent.name not in {"site-packages", "dist-packages"}:
        sys.path.append(sys.path.pop(0))  # a checkout's neighbors must not hide installed packages
    try:
        agent.main(Path(sys.argv[1]), sys.stdin.buffer)
    finally:
        sys.stderr.flush()
        os._exit(0)  # do not wait for couriers whose backend hangs


if __name__ == "__main__":
    _begin()
