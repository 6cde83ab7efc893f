"""What a program may notice of the agent: nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.probes.agents import agents, ended_agents, environment, until
from tests.probes.probe_backend import outcomes, points

PROBE = "{'probe': {'class': 'tests.probes.probe_backend:ProbeBackend', 'folder': '.'}}"


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def run(tmp_path: Path, script: str, *before: str) -> subprocess.CompletedProcess[str]:
    """The script as a file of its own, in a process of its own."""
    (tmp_path / "script.py").write_text(script)
    return subprocess.run(
        [sys.executable, *before, "script.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True,
        timeout=90, check=False,
    )  # fmt: skip


def test_a_program_that_waits_for_its_children_meets_none_of_ours(tmp_path: Path) -> None:
    """`os.wait()` knows of no child, SIGCHLD is not left pending, and psutil lists no child."""
    done = run(
        tmp_path,
        "import os, time, psutil, tracelet\n"
        f"tracelet.start_logging('x', backend={PROBE})\n"
        "time.sleep(2)\n"
        "assert psutil.Process().children() == []\n"
        "try:\n    os.wait()\nexcept ChildProcessError:\n    print('no child')\n",
        "-W", "error",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "no child\n"), done.stderr


def test_signals_threads_random_numbers_and_folder_are_as_they_were(tmp_path: Path) -> None:
    """Starting and stopping with an agent changes no handler, generator, working folder, environment or descriptor."""
    done = run(
        tmp_path,
        "import os, random, signal, threading\nimport tracelet\n"
        "tracelet.start_logging('warm', config={'delivery': 'off', 'track_git': False})\ntracelet.stop_logging()\n"
        "def state():\n"
        "    return ([signal.getsignal(n) for n in range(1, 32)], random.getstate(), os.getcwd(), dict(os.environ),\n"
        "            threading.active_count(), sorted(os.listdir('/proc/self/fd')))\n"
        "before = state()\n"
        f"with tracelet.start_logging('x', backend={PROBE}) as e:\n    e.log_metric('loss', 1.0)\n"
        "assert state() == before\nprint('as it was')\n",
        "-W", "error",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "as it was\n"), done.stderr


def test_inline_delivery_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    """Even while it waits for a backend that does not answer, by chance, it draws from a generator of its own."""
    (tmp_path / "probe.control").write_text("fail")
    done = run(
        tmp_path,
        "import random, time, tracelet\nbefore = random.getstate()\n"
        f"e = tracelet.start_logging('x', backend={PROBE}, config={{'delivery': 'inline'}})\n"
        "e.log_metric('loss', 1.0)\ntime.sleep(2)\ntracelet.stop_logging(0.5)\n"
        "assert random.getstate() == before\nprint('as it was')\n",
    )
    assert (done.returncode, done.stdout) == (0, "as it was\n"), done.stderr


def test_a_forked_child_has_nothing_to_do_with_it(tmp_path: Path) -> None:
    """A child that ends, in whatever way, neither ends the delivery nor waits for it."""
    done = run(
        tmp_path,
        "import os, sys, tracelet\n"
        f"e = tracelet.start_logging('x', backend={PROBE})\n"
        "e.log_metric('loss', 1.0, step=0)\n"
        "child = os.fork()\n"
        "if child == 0:\n    tracelet.stop_logging()\n    sys.exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "e.log_metric('loss', 2.0, step=1)\n",
    )
    assert done.returncode == 0, done.stderr
    assert points(tmp_path) == [["loss", 0, 1.0], ["loss", 1, 2.0]]
    assert outcomes(tmp_path) == ["finished"]


def test_an_agent_that_cannot_be_started_costs_nothing(tmp_path: Path) -> None:
    """No process can be started: it is said once, the training samples the machine itself, and the run is whole."""
    done = run(
        tmp_path,
        "import sys, tracelet\nsys.executable = '/no/such/python'\n"
        f"e = tracelet.start_logging('x', backend={PROBE})\n"
        "e.log_metric('loss', 1.0, step=0)\ntracelet.stop_logging()\n",
    )
    assert done.returncode == 0
    assert done.stderr.count("starting the delivery failed") == 1
    run_ = tracelet.open_store(tmp_path / ".tracelet").run("latest")
    assert {"loss", "system/memory_percent"} <= set(run_.metrics())


def test_a_script_that_tracelet_run_started_brings_its_backends(tmp_path: Path) -> None:
    """`tracelet run` records at once; the name and the backends that the script gives then are delivered to."""
    (tmp_path / "script.py").write_text(
        "import time, tracelet\n"
        f"e = tracelet.start_logging('named', project='p', backend={PROBE})\n"
        "e.log_metric('loss', 1.0, step=0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tracelet", "run", "script.py"], cwd=tmp_path, env=environment(), text=True,
        capture_output=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert points(tmp_path) == [["loss", 0, 1.0]]
    until(lambda: not agents(tmp_path))
    assert '"name": "named", "project": "p"' in (tmp_path / "probe.jsonl").read_text()
