"""`tracelet reproduce` runs a program again from its commit and its uncommitted changes, and compares."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tracelet

SCRIPT = """
import sys, tracelet
value = 1.0
for step in range(5):
    value = (value * FACTOR) % 1.0
    tracelet.log({"loss": value + float(sys.argv[1])}, step=step)
"""


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command there."""
    environment = {**os.environ, "TRACELET_DIR": str(folder.parent / "store"), "TRACELET_TRACK_SYSTEM": "false"}
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_run_is_repeated_from_its_commit_and_its_changes(tmp_path: Path) -> None:
    """Later edits do not matter: the metrics are identical, and the new run names the old one."""
    repository = tmp_path / "repository"
    repository.mkdir()
    script = repository / "train.py"
    script.write_text(SCRIPT.replace("FACTOR", "3.1"))
    who = ("-c", "user.name=n", "-c", "user.email=e")
    for arguments in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "first")):
        assert call(repository, "git", *arguments).returncode == 0
    script.write_text(SCRIPT.replace("FACTOR", "3.3"))
    command = (sys.executable, "-m", "tracelet")
    assert call(repository, *command, "run", "train.py", "0.5").returncode == 0
    script.write_text("raise SystemExit('edited since')")
    planned = call(repository, *command, "reproduce", "train", "--dry-run")
    assert "command" in planned.stdout
    assert not (tmp_path / "store" / "reproduce").exists()
    again = call(repository, *command, "reproduce", "train")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.rstrip().endswith("1 metric: identical")
    newest, first = tracelet.open_store(tmp_path / "store").runs()
    assert newest.tags["reproduces"] == first.id
    assert newest.series("loss").values.tolist() == first.series("loss").values.tolist()
