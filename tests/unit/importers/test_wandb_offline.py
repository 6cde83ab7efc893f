"""Offline runs of the real wandb, imported and compared with what the program logged."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracelet.importers.run_import import Failure, find, import_runs
from tracelet.importers.wandb_offline.importer import WandbImporter
from tracelet.store.run import Run
from tracelet.store.store import Store
from tracelet.testing import ImporterConformance

IMPORTERS = {"wandb": WandbImporter()}
PROGRAM = """
import os
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true")
import wandb
run = wandb.init(
    project="vision", name="first", id="abc123", dir=".", config={"lr": 0.1, "net": {"depth": 3}}, tags=["a", "b"],
    notes="a note", group="seeds",
)
wandb.define_metric("val/acc", step_metric="epoch")
for step in range(60):
    row = {"loss": 1 / (step + 1), "nested": {"deep": step * 0.1}, "big": 2**53 + 1}
    row["odd"] = [float("nan"), float("inf"), float("-inf"), -0.5][step % 4]
    if step % 10 == 9:
        row |= {"val/acc": step * 0.01, "epoch": step // 10}
    if step == 5:
        row |= {"note": "text", "\\u00fcml\\u00e4ut": 1.5}
    wandb.log(row, step=step * 2)
wandb.summary["best"] = 0.25
run.finish()
"""
PATIENCE = 30.0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one offline run; wandb goes on writing for a moment when the program has ended."""
    folder = tmp_path_factory.mktemp("wandb-source")
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, check=True, timeout=120)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        items = [item for run in IMPORTERS["wandb"].find(folder) for item in IMPORTERS["wandb"].read(run)]
        if getattr(items[-1], "status", "") == "finished":
            break
        time.sleep(0.1)
    return folder


def imported(folder: Path, store: Path) -> Run:
    (outcome,) = import_runs(find([folder], IMPORTERS), IMPORTERS, store)
    assert not isinstance(outcome, Failure), outcome
    return Store.open(store).run(outcome.run)


def test_history_is_what_the_program_logged(source: Path, tmp_path: Path) -> None:
    """Every number at its step, nested names, NaN and infinities; a metric with an x axis of its own is on that."""
    run = imported(source, tmp_path)
    steps = [step * 2 for step in range(60)]
    loss, odd = run.series("loss"), run.series("odd")
    assert loss.steps.tolist() == steps
    assert loss.values.tolist() == [1 / (step + 1) for step in range(60)]
    assert run.series("nested.deep").values.tolist() == [step * 0.1 for step in range(60)]
    assert [math.isnan(value) for value in odd.values] == [step % 4 == 0 for step in range(60)]
    assert odd.values[1:4].tolist() == [math.inf, -math.inf, -0.5]
    assert run.series("val/acc").steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert run.series("val/acc").values.tolist() == [step * 0.01 for step in range(9, 60, 10)]
    assert run.series("\u00fcml\u00e4ut").steps.tolist() == [10]
    assert (loss.times[1:] >= loss.times[:-1]).all() and abs(loss.times[0] - time.time()) < 3600


def test_everything_else_of_the_run_comes_over(source: Path, tmp_path: Path) -> None:
    """Name, project, parameters, tags, notes, group, summary, state; what is no number is in a notice."""
    run = imported(source, tmp_path)
    assert (run.info.name, run.info.project, run.info.status) == ("first", "vision", "finished")
    assert run.params == {"lr": 0.1, "net/depth": 3}
    assert run.tags.keys() == {"a", "b", "notes", "group"} and run.tags["group"] == "seeds"
    assert run.facts("summary")["best"] == 0.25
    assert any("note" in problem for problem in run.problems)


def test_importing_again_changes_nothing(source: Path, tmp_path: Path) -> None:
    """No point and no record twice, and the same files."""
    run = imported(source, tmp_path)
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    assert imported(source, tmp_path).id == run.id
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_a_file_that_is_cut_off_gives_what_is_whole(source: Path, tmp_path: Path) -> None:
    """The beginning of a file is a run that was killed; the rest comes with the next import."""
    (file,) = [path for path in source.rglob("run-*.wandb") if not path.parent.is_symlink()]
    copy = tmp_path / "copy" / file.parent.name / file.name
    copy.parent.mkdir(parents=True)
    whole = file.read_bytes()
    copy.write_bytes(whole[: len(whole) // 2])
    run = imported(tmp_path / "copy", tmp_path / "store")
    assert run.info.status == "killed" and 0 < len(run.series("loss")) < 60
    copy.write_bytes(whole)
    run = imported(tmp_path / "copy", tmp_path / "store")
    assert run.info.status == "finished" and len(run.series("loss")) == 60


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, source: Path, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    ImporterConformance(WandbImporter(), source, tmp_path).run(check)
