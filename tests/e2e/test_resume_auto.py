"""`resume="auto"`: programs of a job keep to their own runs; finished runs and those in use are not resumed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tracelet
from tests.probes.agents import environment

PROGRAM = """
import sys, tracelet
with tracelet.start_logging(config=dict(track_system=False, track_git=False, track_env=False, quiet=True)) as run:
    for step in range(3):
        run.log_metric("m", step, step)
    run.flush()
    if sys.argv[1:] == ["fail"]:
        raise ValueError("no data")
    if sys.argv[1:] == ["wait"]:
        print("ready", flush=True)
        sys.stdin.read()
"""
JOB = {"SLURM_JOB_ID": "4712", "TRACELET_RESUME": "auto", "TRACELET_DELIVERY": "off"}


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    Path(script).write_text(PROGRAM, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, script, *arguments], env=environment(**JOB), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def runs() -> list[tuple[str, str, int]]:
    """Name, status and number of attempts of each run, the oldest first."""
    found = sorted(tracelet.open_store().runs(), key=lambda run: run.info.started)
    return [(run.info.name, run.info.status, len(run.processes)) for run in found]


def test_programs_of_one_job_have_runs_of_their_own() -> None:
    """One after the other in a batch script: none resumes a finished run, or another program's failed one."""
    for script, *arguments in (("a.py",), ("a.py",), ("b.py", "fail"), ("c.py",), ("b.py",)):
        start(script, *arguments).communicate(timeout=60)
    assert runs() == [("a", "finished", 1), ("a", "finished", 1), ("b", "finished", 2), ("c", "finished", 1)]


def test_programs_of_one_job_side_by_side() -> None:
    """A run that is being recorded is not resumed by the same program started beside it."""
    first = start("a.py", "wait")
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    start("a.py").communicate(timeout=60)
    first.communicate("", timeout=60)
    assert runs() == [("a", "finished", 1), ("a", "finished", 1)]
