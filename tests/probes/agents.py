"""What tests of delivery share: the training in a process of its own, and finding the agents that it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent.parent
SCRIPT = Path(__file__).with_name("training.py")
LONG = 30.0
"""Seconds after which what should have happened will not: two busy cores."""
_started: list[subprocess.Popen[str]] = []


def environment(**more: str) -> dict[str, str]:
    """For a program that finds tracelet and the probe, and delivers by an agent unless it says otherwise."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TRACELET_DELIVERY": "agent", **more}


def train(folder: Path, wait: bool = True, env: dict[str, str] | None = None, **order: Any) -> subprocess.Popen[str]:
    """The training, started in `folder`; ended and waited for, unless `wait` is false."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), json.dumps({"folder": str(folder), **order})], cwd=folder,
        env=env or environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _started.append(process)
    if wait:
        process.wait(LONG * 3)
    return process


def printed(process: subprocess.Popen[str]) -> dict[str, str]:
    """What the training said, by its first word; closes its pipes."""
    out, err = process.communicate(timeout=LONG * 3)
    found = dict(line.split(" ", 1) for line in out.splitlines() if " " in line)
    return {**found, "stderr": err}


def run_folder(folder: Path) -> Path:
    """The one run in the store of `folder`, once it is there."""
    until(lambda: list((folder / ".tracelet" / "runs").glob("*/rank-0.0.tlj")))
    (found,) = (folder / ".tracelet" / "runs").iterdir()
    return found


def agents(folder: Path) -> list[psutil.Process]:
    """The agents of runs below `folder` that live."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        ours = any(word.endswith("agent/__main__.py") for word in words) and any(str(folder) in word for word in words)
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def until(true: Callable[[], Any], patience: float = LONG) -> Any:
    """Wait until something is true, and return it; an AssertionError if it does not become so."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"did not happen within {patience} s: {true}")


@contextmanager
def ended_agents(folder: Path) -> Iterator[None]:
    """Agents leave by themselves when their work is done; a test that leaves one behind fails, and ends it."""
    yield
    while _started:
        with _started.pop() as process:  # closes its pipes
            process.kill()
    try:
        until(lambda: not agents(folder))
    finally:
        for agent in agents(folder):
            agent.kill()


def control(folder: Path, word: str, name: str = "probe") -> None:
    """Tell the probe how to behave from now on."""
    beside = folder / f"{name}.control.new"
    beside.write_text(word, encoding="utf-8")
    beside.rename(folder / f"{name}.control")


def logged(count: int) -> list[list[Any]]:
    """What the training logs, as the probe has it."""
    return [["loss", step, 1.0 / (step + 1)] for step in range(count)]
