"""Runs a program in fresh interpreters, with and without tracelet, and has it say everything that a user could look at.

For the contract tests of integrations: what the program says must be the same. The program puts into `told` what is its
own (weights, what the library stored); random states, warnings, files, threads and signal handlers are added here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import tracelet
from tracelet.store.run import Run

ROOT = Path(__file__).parents[1]
BEGINNING = """
import hashlib, json, os, random, re, signal, sys, threading, warnings
import numpy
random.seed(7), numpy.random.seed(7)
caught, told = [], {}
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, filename, lineno, *_: caught.append([str(message), category.__name__])
signals = {number: str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)}
if sys.argv[1] == "recorded":
    import tracelet
    tracelet.start_logging("compared", config={"dir": "../store", "quiet": True, "delivery": "off"})
"""
END = """
torch = sys.modules.get("torch")
told["random"] = [hashlib.sha256(repr(state).encode()).hexdigest() for state in
                  (random.getstate(), [str(part) for part in numpy.random.get_state()],
                   torch and torch.get_rng_state().tolist())]
told["warnings"] = caught
told["signals"] = signals == {number: str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)}
told["threads"] = sorted(re.sub(r"\\d+", "#", t.name) for t in threading.enumerate()
                         if not t.name.startswith(("tracelet-", "QueueFeederThread")))
found = (os.path.join(place, name) for place, _, names in os.walk(".") for name in names)
told["files"] = sorted(re.sub(r"[0-9a-f]{8,}|\\d+", "#", path) for path in found)
told["environment"] = sorted(name for name in os.environ if name != "TRACELET_LAUNCH")
json.dump(told, open("../" + sys.argv[1] + ".json", "w"), default=str)
"""
"""`told["files"]` has no numbers in its names: libraries put times, process ids and random ids there. A queue's feeder
thread ends some time after the queue."""


def weights_of(module: str) -> str:
    """An expression for a digest of a module's weights."""
    return (
        "hashlib.sha256(b''.join(value.detach().cpu().numpy().tobytes() "
        f"for value in {module}.state_dict().values())).hexdigest()"
    )


def with_and_without(program: str, folder: Path, timeout: float = 240) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the program said without tracelet, and with a run around it."""
    found = []
    for how in ("bare", "recorded"):
        place = folder / how
        place.mkdir(parents=True)
        script = folder / f"program_{how}.py"
        script.write_text(BEGINNING + program + END, encoding="utf-8")
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg", "HOME": str(folder),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, script, how], cwd=place, env=environment, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Your program is not affected" not in done.stderr, done.stderr
        found.append(json.loads((folder / f"{how}.json").read_text(encoding="utf-8")))
    return found[0], found[1]


def recorded_run(folder: Path) -> Run:
    """The run that the recorded program of `with_and_without` left."""
    return tracelet.open_store(folder / "store").run("compared")


OURS = ("system/", "gpu/", "lr-", "tracelet/")
"""How the names begin of what tracelet records itself: the machine, learning rates, gradient norms."""


def logged(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Step and value of each point of every series that the program logged."""
    series = [run.series(name) for name in run.metrics() if not name.startswith(OURS)]
    return {one.name: list(zip(one.steps.tolist(), one.values.tolist())) for one in series}
