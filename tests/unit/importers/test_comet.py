"""Zip files that the real Comet SDK wrote, compared with the values that the program gave it."""

from __future__ import annotations

import random
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.environments import trackers_python
from tests.importing import FAR, HARD, expected, imported, values
from tracelet.errors import ImportFailed
from tracelet.importers.comet import CometImporter
from tracelet.testing import ImporterConformance

STEPS = (0, 1, 1, 3, 2, FAR, 5, 7)
PROGRAM = f"""
POINTS = {list(zip(STEPS, map(repr, HARD)))}
import comet_ml
experiment = comet_ml.OfflineExperiment(
    project_name="vision", workspace="w", offline_directory="comet", auto_metric_logging=False, log_env_details=False,
    log_code=False, log_git_metadata=False,
)
experiment.set_name("first")
experiment.add_tag("t")
experiment.log_parameters({{"lr": 0.1, "net": {{"depth": 3}}}})
for step, value in POINTS:
    experiment.log_metric("train/loss", float(value), step=step)
experiment.log_metric("fraction", 1.0, step=1.5)
experiment.log_metric("big", 2**53 + 1, step=8)
experiment.log_other("note", "x")
print("hello")
experiment.end()
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip file of one experiment."""
    folder = tmp_path_factory.mktemp("comet")
    subprocess.run([trackers_python(), "-c", PROGRAM], cwd=folder, check=True, capture_output=True, timeout=120)
    (path,) = (folder / "comet").glob("*.zip")
    return path


def test_every_point_is_there(source: Path, tmp_path: Path) -> None:
    """Values and steps are those that the program gave; a fraction of a step and a rounded value are reported."""
    run = imported(source.parent, CometImporter(), tmp_path)["first"]
    assert run.metrics() == ["big", "fraction", "train/loss"]
    assert values(run, "train/loss") == expected(STEPS, HARD)
    assert values(run, "fraction") == [(1, "1.0")]
    told = "\n".join(run.problems)
    assert "have a fraction" in told and "beyond 2**53" in told


def test_everything_else(source: Path, tmp_path: Path) -> None:
    """Project, parameters, tags, other values and console, without what the SDK says about itself."""
    run = imported(source, CometImporter(), tmp_path)["first"]
    assert (run.info.project, run.info.status) == ("vision", "finished")
    assert run.params == {"lr": 0.1, "net/depth": 3}
    assert run.tags == {"t": "true"} and run.facts("comet")["note"] == "x"


def test_damaged_files(source: Path, tmp_path: Path) -> None:
    """Of a damaged or cut file there are points, or an error that names it; one that is open holds no run."""
    whole, chance = source.read_bytes(), random.Random(3)
    for place in range(40):
        path = tmp_path / f"damaged-{place}.zip"
        damaged = bytearray(whole[: chance.randrange(30, len(whole))] if place % 4 == 0 else whole)
        damaged[chance.randrange(len(damaged))] ^= 0xFF
        path.write_bytes(damaged)
        try:
            for run in CometImporter().find(path):
                list(CometImporter().read(run))
        except ImportFailed as error:
            assert path.name in str(error)
    with zipfile.ZipFile(tmp_path / "open.zip", "w"):
        pass
    assert CometImporter().find(tmp_path / "open.zip") == []


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, source: Path, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    ImporterConformance(CometImporter(), source, tmp_path).run(check)
