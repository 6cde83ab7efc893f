"""Repositories that the real Aim wrote, compared with what Aim reads of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.importing import FAR, HARD, imported, points, values
from tracelet.importers.aim.importer import AimImporter
from tracelet.testing import ImporterConformance

pytest.importorskip("aim", reason="Aim has no packages for this Python")

STEPS = (0, 1, 1, 3, 2, FAR, 5, 7)
WRITE = f"""
POINTS = {list(zip(STEPS, map(repr, HARD)))}
from aim import Run
run = Run(repo=".", experiment="vision", system_tracking_interval=None, log_system_params=False,
          capture_terminal_logs=False)
run.name = "first"
run["hparams"] = {{"lr": 0.1, "net": {{"depth": 3}}}}
run.add_tag("t")
for step, value in POINTS:
    run.track(float(value), name="loss", step=step, context={{"subset": "train"}})
run.track(1.5, name="loss", step=3)
run.track(2.5, name="loss", step=4, context={{"fold": 1, "subset": "val"}})
run.close()
"""
READ = """
import json
from aim import Repo, Run
repo = Repo(".")
repo._recreate_index()
(run,) = (Run(known, repo=repo, read_only=True) for known in repo.list_all_runs())
found = []
for metric in run.metrics():
    steps, (values, _, times) = metric.data.items_list()
    found.append([metric.name, metric.context.to_dict(), list(zip(steps, map(repr, values), times))])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one run."""
    folder = tmp_path_factory.mktemp("aim")
    subprocess.run([sys.executable, "-c", WRITE], cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def theirs(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Aim reads of a copy, by name and context: its reader writes into what it reads."""
    copy = tmp_path_factory.mktemp("aim-copy") / "copy"
    shutil.copytree(source, copy)
    done = subprocess.run(
        [sys.executable, "-c", READ], cwd=copy, check=True, capture_output=True, text=True, timeout=120
    )
    return {name + json.dumps(context): rows for name, context, rows in json.loads(done.stdout.splitlines()[-1])}


def test_every_point_is_there(source: Path, theirs: dict[str, Any], tmp_path: Path) -> None:
    """Steps, values and times are those that Aim gives: of a repeated step the last value."""
    run = imported(source, AimImporter(), tmp_path)["first"]
    assert run.metrics() == ["loss", 'loss {"fold": 1, "subset": "val"}', "train/loss"]
    rows = [(step, value, round(time, 6)) for step, value, time in theirs['loss{"subset": "train"}']]
    assert sorted(points(run, "train/loss")) == sorted(rows) and len(rows) == 7
    assert values(run, "loss") == [(3, "1.5")]
    assert run.series("train/loss").steps.max() == FAR


def test_everything_else(source: Path, tmp_path: Path) -> None:
    """Experiment, parameters, tags and the end."""
    run = imported(source, AimImporter(), tmp_path)["first"]
    assert (run.info.project, run.info.status, run.tags) == ("vision", "finished", {"t": "true"})
    assert run.params == {"hparams/lr": 0.1, "hparams/net/depth": 3}


@pytest.mark.slow
@pytest.mark.parametrize("check", ["finds", "again", "foreign"])  # every reading starts Aim, which takes seconds
def test_it_does_what_every_importer_must(check: str, source: Path, tmp_path: Path) -> None:
    """These checks of the suite for importers pass."""
    ImporterConformance(AimImporter(), source, tmp_path).run(check)
