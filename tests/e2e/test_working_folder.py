"""A program whose working directory was deleted is recorded all the same, where the store is elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tracelet
from tests.probes.agents import environment

PROGRAM = """
import os, tracelet
os.mkdir("gone"); os.chdir("gone"); os.rmdir(os.getcwd())
with tracelet.start_logging("x", config={"quiet": True}) as run:
    run.log_metric("m", 1.0)
"""


def test_a_deleted_working_directory_costs_no_run(tmp_path: Path) -> None:
    """The scratch folder of a job is gone, the store is an absolute path: there is a run, without a folder."""
    store = tmp_path / "store"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment(TRACELET_DIR=str(store), TRACELET_DELIVERY="off"),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "failed" not in done.stderr
    (run,) = tracelet.open_store(store).runs()
    assert (run.info.status, run.info.folder) == ("finished", "")
    assert run.series("m").values.tolist() == [1.0]
