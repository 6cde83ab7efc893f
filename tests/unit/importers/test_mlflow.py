"""Runs that the real MLflow wrote, in folders and in SQLite, compared with what its client reads."""

from __future__ import annotations

import math
import shutil
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from tracelet.importers.mlflow.importer import MlflowImporter
from tracelet.importers.run_import import Failure, find, import_runs
from tracelet.store.run import Run
from tracelet.store.store import Store
from tracelet.testing import ImporterConformance

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # MLflow's own use of SQLAlchemy
IMPORTERS = {"mlflow": MlflowImporter()}
HARD = [0.5, math.nan, math.inf, -math.inf, -0.0, 1e-300, 2.0**53 + 1]


def imported(path: Path, store: Path) -> list[Run]:
    outcomes = list(import_runs(find([path], IMPORTERS), IMPORTERS, store))
    assert [one for one in outcomes if isinstance(one, Failure)] == []
    return [Store.open(store).run(one.run) for one in outcomes if not isinstance(one, Failure)]


def infinite(value: float) -> float:
    """A database has the largest doubles in place of infinities, and the client gives them as they are."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


def write(client: MlflowClient, location: str) -> str:
    """One finished run and one that is not; the id of the first."""
    experiment = client.create_experiment("vision", artifact_location=location)
    run = str(client.create_run(experiment, run_name="first").info.run_id)
    client.log_batch(run, metrics=[Metric("val/hard", value, 1_000 + n, n) for n, value in enumerate(HARD)])
    for step in (5, 6, 6, 3):
        client.log_metric(run, "loss", step * 0.1, timestamp=2_000 + step, step=step)
    client.log_metric(run, "far", 1.0, timestamp=3_000, step=2**53 + 1)
    client.log_param(run, "lr", 0.1)
    client.log_param(run, "code", "007")
    client.set_tag(run, "note", "a tag")
    client.set_terminated(run, "FAILED", end_time=int(time.time() * 1000))
    client.create_run(experiment, run_name="second", tags={"mlflow.parentRunId": run})
    client.delete_run(client.create_run(experiment, run_name="deleted").info.run_id)
    gone = client.create_experiment("gone", artifact_location=location)
    client.create_run(gone, run_name="of a deleted experiment")
    client.delete_experiment(gone)
    return run


@pytest.fixture(scope="module", params=["folders", "sqlite"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MlflowClient, str]:
    """A store of this kind: where it is, its client, and the id of the run that has ended."""
    folder = tmp_path_factory.mktemp("mlflow-source")
    if request.param == "folders":
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
            client = MlflowClient(tracking_uri=(folder / "mlruns").as_uri())
        path = folder / "mlruns"
    else:
        client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
        path = folder / "mlflow.db"
    return path, client, write(client, (folder / "artifacts").as_uri())


def test_runs_are_what_the_client_reads(source: tuple[Path, MlflowClient, str], tmp_path: Path) -> None:
    """Every point of every metric, with its step, value and time, whatever order the client gives them in."""
    path, client, run_id = source
    runs = {run.info.name: run for run in imported(path, tmp_path)}
    run = runs["first"]
    assert run.metrics() == ["far", "loss", "val/hard"]
    for name in run.metrics():
        history = client.get_metric_history(run_id, name)
        expected = sorted((one.step, repr(infinite(float(one.value))), one.timestamp / 1000) for one in history)
        series = run.series(name)
        found = zip(series.steps.tolist(), map(repr, series.values.tolist()), series.times.tolist())
        assert sorted(found) == expected, name
    assert (run.info.project, run.info.status) == ("vision", "failed")
    assert run.params == {"lr": 0.1, "code": "007"}
    assert run.tags == {"note": "a tag"}
    assert (runs["second"].info.status, runs["second"].tags) == ("killed", {"parent": run_id})


def test_the_source_stays_as_it_is_and_nothing_comes_twice(
    source: tuple[Path, MlflowClient, str], tmp_path: Path
) -> None:
    """Importing twice writes nothing into the source and no point twice; new points come with the next import."""
    path, _, _ = source
    copy = tmp_path / path.name
    shutil.copytree(path, copy) if path.is_dir() else shutil.copy(path, copy)
    files = [copy] if copy.is_file() else sorted(one for one in copy.rglob("*") if one.is_file())
    before = [(one, one.read_bytes()) for one in files]
    first = {run.id: run.summaries() for run in imported(copy, tmp_path / "store")}
    assert {run.id: run.summaries() for run in imported(copy, tmp_path / "store")} == first
    after = [copy] if copy.is_file() else sorted(one for one in copy.rglob("*") if one.is_file())
    assert [(one, one.read_bytes()) for one in after] == before


def test_deleted_runs_are_left_out(source: tuple[Path, MlflowClient, str]) -> None:
    """A deleted run and those of a deleted experiment are not imported, from folders as from a database."""
    path, _, _ = source
    assert sorted(run.name for run in find([path], IMPORTERS)) == ["first", "second"]


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, source: tuple[Path, MlflowClient, str], tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    ImporterConformance(MlflowImporter(), source[0], tmp_path).run(check)
