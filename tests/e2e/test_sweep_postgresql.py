"""A sweep whose trials are in a real PostgreSQL, run by two controllers, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.servers import postgresql
from tracelet.store.store import Store
from tracelet.sweeps.sweep_folder import find_sweep

TRAIN = """
import argparse, time, tracelet
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=int)
options = parser.parse_args()
with open("starts.txt", "a") as file:
    file.write(f"{options.x}\\n")
for step in range(3):
    tracelet.log({"loss": options.x + 1 / (step + 1)}, step)
    time.sleep(0.3)
"""
CONFIG = """
program: train.py
method: grid
metric: {name: loss}
parameters: {x: {values: [1, 2, 3, 4, 5]}}
"""


def command(*arguments: str) -> list[str]:
    """A command of `tracelet sweep`."""
    return [sys.executable, "-m", "tracelet", "sweep", *arguments]


@pytest.mark.slow
def test_two_controllers_share_a_database_and_one_is_killed(tmp_path: Path) -> None:
    """Every point of the grid runs exactly once: the survivor adopts the killed one's trial; no password is kept."""
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(CONFIG, encoding="utf-8")
    quick = {f"TRACELET_TRACK_{what}": "false" for what in ("GIT", "ENV", "SYSTEM", "SPANS")}
    environment = {**os.environ, **quick}
    starts = tmp_path / "starts.txt"
    with postgresql.running() as database:
        url = database.format(password=quote(postgresql.PASSWORD, safe=""))
        first = subprocess.Popen(
            command("sweep.yaml", "--storage", url, "--id", "shared"), env=environment, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while not starts.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        second = subprocess.Popen(
            command("resume", "shared", "--storage", url, "--workers", "2"), env=environment, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        while starts.read_text(encoding="utf-8").count("\n") < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.wait()
        printed = second.communicate(timeout=200)[0]
        assert second.returncode == 0, printed
        sweep = find_sweep(Store.open())
        trials = sweep.study(url).trials()
    assert [trial.status for trial in trials] == ["finished"] * 5, printed
    assert [trial.metric for trial in trials] == [x + 1 / 3 for x in range(1, 6)]
    assert Counter(starts.read_text(encoding="utf-8").split()) == Counter("12345")
    assert sweep.record.storage.startswith("postgresql://sweeper@127.0.0.1:")
    secret = quote(postgresql.PASSWORD, safe="")
    assert not [path for path in sweep.path.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]
    gone = subprocess.run(
        command("show", "--storage", url), env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert gone.returncode == 2
    assert secret not in gone.stderr
    assert "cannot be used" in gone.stderr
