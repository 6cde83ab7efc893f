"""Offline sessions that the real ClearML wrote, as folders and as zip files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.importing import HARD, expected, imported, values
from tracelet.errors import ImportFailed
from tracelet.importers.clearml_offline import ClearmlImporter
from tracelet.testing import ImporterConformance

STEPS = (0, 1, 1, 3, 2, 2**31 - 1, 5, 7)
PROGRAM = f"""
POINTS = {list(zip(STEPS, map(repr, HARD)))}
from clearml import Task
Task.set_offline(True)
task = Task.init(
    "vision", "first", auto_connect_frameworks=False, auto_connect_arg_parser=False, auto_resource_monitoring=False
)
task.connect({{"lr": 0.1, "net": {{"depth": 3}}}})
task.add_tags(["t"])
logger = task.get_logger()
for step, value in POINTS:
    logger.report_scalar("train", "loss", float(value), step)
logger.report_single_value("best", 0.25)
logger.report_histogram("h", "s", [1, 2], iteration=1)
logger.report_text("hello", print_console=False)
task.close()
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the session's folder and its zip file."""
    folder = tmp_path_factory.mktemp("clearml")
    environment = {**os.environ, "CLEARML_CACHE_DIR": str(folder), "HOME": str(folder)}
    subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, env=environment, check=True, capture_output=True, timeout=180
    )
    return folder / "offline"


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_the_session_is_a_run(kind: str, source: Path, tmp_path: Path) -> None:
    """Scalars, single values, hyperparameters, tags and console; NaN and infinities are 0.0 there, which is said."""
    (zipped,) = source.glob("*.zip")
    run = imported(zipped if kind == "zip" else source, ClearmlImporter(), tmp_path)["first"]
    written = [value if abs(value) < float("inf") else 0.0 for value in HARD]  # what ClearML makes of them
    assert values(run, "train/loss") == expected(STEPS, written)
    assert run.facts("summary") == {"best": 0.25}
    assert (run.info.project, run.params, run.tags) == ("vision", {"lr": 0.1, "net/depth": 3}, {"t": "true"})
    told = "\n".join(run.problems)
    assert "4 values are 0.0" in told and "'plot'" in told


def test_a_session_that_was_killed(source: Path, tmp_path: Path) -> None:
    """Without metrics there is an empty run; half a last line is left for the next import, and damage is an error."""
    (whole,) = (one for one in source.iterdir() if one.is_dir())
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    metrics = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").unlink()
    assert imported(folder, ClearmlImporter(), tmp_path / "store")["first"].metrics() == []
    (folder / "metrics.jsonl").write_bytes(metrics + b'[{"type": "training_sta')
    assert len(imported(folder, ClearmlImporter(), tmp_path / "store")["first"].series("train/loss")) == len(STEPS)
    (folder / "metrics.jsonl").write_bytes(b"[{\n" + metrics)
    (run,) = ClearmlImporter().find(folder)
    with pytest.raises(ImportFailed, match="metrics.jsonl cannot be read"):
        list(ClearmlImporter().read(run))


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, source: Path, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    ImporterConformance(ClearmlImporter(), source, tmp_path).run(check)
