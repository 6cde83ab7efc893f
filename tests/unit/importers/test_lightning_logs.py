"""Folders that Lightning's own loggers wrote, imported as one run each."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from tracelet.importers.base import Importer
from tracelet.importers.lightning_logs import LightningImporter
from tracelet.importers.run_import import Failure, find, import_runs
from tracelet.importers.tensorboard import TensorboardImporter
from tracelet.store.run import Run
from tracelet.store.store import Store
from tracelet.testing import ImporterConformance

IMPORTERS: dict[str, Importer] = {"lightning": LightningImporter(), "tensorboard": TensorboardImporter()}


def imported(path: Path, store: Path) -> list[Run]:
    outcomes = list(import_runs(find([path], IMPORTERS), IMPORTERS, store))
    assert [one for one in outcomes if isinstance(one, Failure)] == []
    return [Store.open(store).run(one.run) for one in outcomes if not isinstance(one, Failure)]


def test_a_folder_of_both_loggers_is_one_run(tmp_path: Path) -> None:
    """Hyperparameters, event files, the table, and checkpoints by reference; a metric in both comes once."""
    for logger in (CSVLogger(tmp_path, name="logs", version=0), TensorBoardLogger(tmp_path, name="logs", version=0)):
        logger.log_hyperparams({"lr": 0.1, "layers": [64, 32], "net": {"kind": "mlp"}})
        for step in range(5):
            logger.log_metrics({"loss": step * 0.5}, step)
            if isinstance(logger, CSVLogger):
                logger.log_metrics({"only/csv": step * 1.5}, step)
        logger.save()
        logger.finalize("success")
    checkpoints = tmp_path / "logs" / "version_0" / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    (checkpoints / "epoch=0.ckpt").write_bytes(b"weights")
    (run,) = imported(tmp_path / "logs", tmp_path / "store")
    assert run.params["lr"] == 0.1 and run.params["net/kind"] == "mlp"
    assert run.series("loss").values.tolist() == [step * 0.5 for step in range(5)]
    assert run.series("loss").times[0] > 1e9
    assert run.series("only/csv").steps.tolist() == [0, 1, 2, 3, 4]
    assert [(one.name, one.size, one.kind) for one in run.artifacts] == [("epoch=0.ckpt", 7, "checkpoint")]
    assert any("has no times" in problem for problem in run.problems)


def test_versions_are_runs(tmp_path: Path) -> None:
    """Each `version_N` is a run, and importing again adds nothing."""
    for version in range(3):
        logger = CSVLogger(tmp_path, name="logs", version=version)
        logger.log_metrics({"loss": float(version)}, 1)
        logger.save()
    runs = imported(tmp_path, tmp_path / "store")
    assert sorted(run.info.name for run in runs) == [f"logs/version_{version}" for version in range(3)]
    assert [run.summaries() for run in imported(tmp_path, tmp_path / "store")] == [run.summaries() for run in runs]


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    logger = CSVLogger(tmp_path, name="logs", version=0)
    logger.log_hyperparams({"lr": 0.1})
    for step in range(5):
        logger.log_metrics({"loss": step * 0.5}, step)
    logger.save()
    ImporterConformance(LightningImporter(), tmp_path / "logs", tmp_path).run(check)
