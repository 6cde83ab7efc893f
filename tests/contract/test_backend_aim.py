"""The aim backend passes the conformance suite, read with Aim's own objects after `reindex`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tracelet.backends.aim.backend import AimBackend, AimOptions
from tracelet.backends.base import Batch, RunDescription, SeriesPart
from tracelet.testing import FINISHED, START, BackendConformance, Delivered, Traits

pytest.importorskip("aim", reason="Aim has no packages for this Python")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Aim's own

STATUSES = {name: name for name in ("finished", "failed", "interrupted", "preempted", "pruned", "killed")}

READER = """
import json, sys
from aim import Repo, Run
repo = Repo(sys.argv[1])
repo._recreate_index()
found = []
for run in (Run(known, repo=repo, read_only=True) for known in repo.list_all_runs()):
    about = run["tracelet"]
    if about["run_id"] != sys.argv[2]:
        continue
    series = []
    for metric in run.metrics():
        steps, (values, epochs, times) = metric.data.items_list()
        series.append([metric.name, metric.context.to_dict(), list(zip(steps, map(repr, values), times))])
    hparams = {name: str(value) for name, value in run.get("hparams", {}).items()}
    found.append({"series": series, "params": hparams, "status": about["status"], "name": run.name})
print(json.dumps(found))
"""


def read(run: RunDescription) -> Delivered:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, str(run.store), run.id],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout.splitlines()[-1])
    delivered = Delivered(params=found["params"], status=found["status"])
    for name, _, points in found["series"]:
        delivered.series.setdefault(name, []).extend((step, float(value), time) for step, value, time in points)
    return delivered


def suite(folder: Path) -> BackendConformance:
    traits = Traits(time_precision=0.002, artifacts=False, statuses=STATUSES)
    return BackendConformance(lambda: AimBackend(AimOptions()), read, folder, traits)


@pytest.mark.slow
@pytest.mark.parametrize("check", BackendConformance.CHECKS)
def test_conformance(check: str, tmp_path: Path) -> None:
    """What every backend must do, aim does."""
    suite(tmp_path).run(check)


@pytest.mark.slow
def test_the_stage_is_the_context(tmp_path: Path) -> None:
    """One name in training and validation is one metric with two contexts, as Aim shows them; without a stage, none."""
    conformance = suite(tmp_path)
    stages = ("train", "val", "")
    parts = [SeriesPart("loss", [0, 1], [1.0, 2.0], [START, START + 1], [0, 0], stage=stage) for stage in stages]
    conformance.deliver(Batch(id="b:0-1", points=parts), outcome=FINISHED)
    run = conformance.description()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, str(run.store), run.id],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    (found,) = json.loads(done.stdout.splitlines()[-1])
    contexts = sorted((name, context.get("subset", ""), len(points)) for name, context, points in found["series"])
    assert contexts == [("loss", "", 2), ("loss", "train", 2), ("loss", "val", 2)]
