"""`tracelet demo` on the machine that runs the tests: a real training, recorded and shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tracelet


@pytest.mark.slow
def test_the_demo_trains_and_shows(tmp_path: Path) -> None:
    """One command ends with the metrics of a model that has learned, and with commands that work."""
    done = subprocess.run(
        [sys.executable, "-m", "tracelet", "demo", "--dir", "store"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
    run = tracelet.open_store(tmp_path / "store").run("latest")
    assert run.info.status == "finished"
    assert run.series("val/accuracy").values[-1] > 0.8
    assert len(run.series("train/loss")) == 120
    for word in (run.id, "val/accuracy", "lr", "Checkpoints", f"--dir {tmp_path / 'store'}"):
        assert word in done.stdout
    told = next(line for line in done.stdout.splitlines() if line.startswith("  tracelet export"))
    arguments = told.split("  ")[1].split()[1:]
    assert "train/loss,0," in subprocess.check_output([sys.executable, "-m", "tracelet", *arguments], text=True)
