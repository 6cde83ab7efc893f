"""Folders that the real Sacred wrote, compared with the values that the program gave it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.environments import trackers_python
from tests.importing import FAR, HARD, expected, imported, points, values
from tracelet.importers.sacred import SacredImporter
from tracelet.importers.timestamps import from_iso
from tracelet.testing import ImporterConformance

STEPS = (0, 1, 1, 3, 2, FAR, -5, 7)
PROGRAM = (
    f"POINTS = {list(zip(STEPS, map(repr, HARD)))}"
    """
from sacred import SETTINGS, Experiment
from sacred.observers import FileStorageObserver
SETTINGS.CAPTURE_MODE = "sys"
experiment = Experiment("vision", save_git_info=False)
experiment.observers.append(FileStorageObserver("runs"))
experiment.add_config(lr=0.1, net={"depth": 3}, fail=False)

@experiment.main
def main(_run, fail):
    print("hello")
    for step, value in POINTS:
        _run.log_scalar("train/loss", float(value), step)
    _run.log_scalar("unnumbered", 1.5)
    _run.log_scalar("unnumbered", 2.5)
    _run.info["note"] = "n"
    _run.add_artifact(__file__, "program.py")
    if fail:
        raise ValueError("bad")
    return 42

experiment.run()
try:
    experiment.run(config_updates={"fail": True})
except ValueError:
    pass
"""
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that completed and one that failed."""
    folder = tmp_path_factory.mktemp("sacred")
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    subprocess.run([trackers_python(), "program.py"], cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


def test_every_point_is_there(source: Path, tmp_path: Path) -> None:
    """Values and steps are those that the program gave, times those that Sacred wrote, in UTC."""
    run = imported(source, SacredImporter(), tmp_path)["vision-1"]
    assert values(run, "train/loss") == expected(STEPS, HARD)
    assert values(run, "unnumbered") == [(0, "1.5"), (1, "2.5")]
    stamps = json.loads((source / "runs" / "1" / "metrics.json").read_text("utf-8"))["train/loss"]["timestamps"]
    assert [time for _, _, time in points(run, "train/loss")] == [(from_iso(one) or 0) / 1e6 for one in stamps]


def test_everything_else_comes_over(source: Path, tmp_path: Path) -> None:
    """Project, configuration, result, console, files and both ways to end."""
    runs = imported(source, SacredImporter(), tmp_path)
    done, failed = runs["vision-1"], runs["vision-2"]
    assert (done.info.project, done.info.status, failed.info.status) == ("vision", "finished", "failed")
    assert done.params["net/depth"] == 3 and (done.params["fail"], failed.params["fail"]) == (False, True)
    assert (done.facts("summary")["result"], done.facts("summary")["note"]) == (42, "n")
    assert [one.name for one in done.artifacts] == ["program.py"]
    assert failed.info.reason == "ValueError: bad"


def test_a_run_that_was_killed(source: Path, tmp_path: Path) -> None:
    """Status RUNNING in the file of a program that is gone: what it had written is there, the run is killed."""
    folder = tmp_path / "runs" / "3"
    folder.mkdir(parents=True)
    for name in ("run.json", "config.json"):
        (folder / name).write_bytes((source / "runs" / "1" / name).read_bytes())
    known = json.loads((folder / "run.json").read_text("utf-8"))
    (folder / "run.json").write_text(json.dumps(known | {"status": "RUNNING", "stop_time": None}), encoding="utf-8")
    run = imported(tmp_path / "runs", SacredImporter(), tmp_path / "store")["vision-3"]
    assert (run.info.status, run.metrics()) == ("killed", [])


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, source: Path, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    ImporterConformance(SacredImporter(), source, tmp_path).run(check)
