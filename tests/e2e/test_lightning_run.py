"""From `start_logging()` to the reader: a run's series on disk equal what the CSVLogger of the same training wrote."""

from __future__ import annotations

import csv
import importlib
import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import tracelet

pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning says about tiny loaders is not our subject

SETTINGS = {"delivery": "off", "track_system": False, "track_git": False, "track_env": False}


def module_class(pl: Any) -> Any:
    class Module(pl.LightningModule):  # type: ignore[misc]
        def __init__(self, lr: float = 0.1, api_key: str = "s3cret") -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch).square().mean()
            self.log("loss", loss, on_step=True, on_epoch=True)
            self.log("odd", (float("nan"), float("inf"), -0.1)[batch_idx % 3])
            self.log("tiny", 1e-30 * (batch_idx + 1))
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val", self.layer(batch).mean())

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("test", self.layer(batch).mean(), on_step=True, on_epoch=True)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)

    return Module


def loader(rows: int, batch: int) -> DataLoader[Any]:
    return DataLoader(torch.randn(rows, 4), batch_size=batch)  # type: ignore[arg-type]


def written(path: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if text and name not in ("step", "epoch"):
                    found[name].append((int(row["step"]), float(text)))
    return found


@pytest.mark.parametrize("flavour", ["lightning.pytorch", "pytorch_lightning"])
def test_what_is_on_disk_equals_the_csv(flavour: str, tmp_path: Path) -> None:
    """One line before the training; names, steps and values read back from the store are Lightning's. Each point knows
    its epoch, its stage and when it was.
    """
    began = time.time()
    with tracelet.start_logging("exact", config=SETTINGS) as experiment:
        pl = importlib.import_module(flavour)
        logger = importlib.import_module(f"{flavour}.loggers").CSVLogger(tmp_path, name="csv", version=0)
        trainer = pl.Trainer(
            max_epochs=3, logger=logger, log_every_n_steps=1, accelerator="cpu", devices=1, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False,
        )  # fmt: skip
        module = module_class(pl)()
        trainer.fit(module, loader(21, 2), loader(7, 3))
        trainer.test(module, loader(7, 3), verbose=False)
    ended = time.time()
    run = tracelet.open_store().run(experiment.id)
    expected = written(tmp_path / "csv" / "version_0" / "metrics.csv")
    assert sorted(run.metrics()) == sorted([*expected, "lr-Adam"])
    for name, points in expected.items():
        series = run.series(name)
        assert series.steps.tolist() == [step for step, _ in points], name
        pairs = list(zip(series.values.tolist(), [value for _, value in points]))
        assert all(left == right or (math.isnan(left) and math.isnan(right)) for left, right in pairs), name
        times = series.times.tolist()
        assert began - 1e-5 <= times[0] and times == sorted(times) and times[-1] <= ended, name
    epochs = {"loss_step": [0] * 11 + [1] * 11 + [2] * 11, "loss_epoch": [0, 1, 2], "val": [0, 1, 2]}
    assert {name: run.series(name).epochs.tolist() for name in epochs} == epochs
    stages = {
        "loss_step": {"train"},
        "odd": {"train"},
        "val": {"validate"},
        "test_step": {"test"},
        "test_epoch": {"test"},
    }
    assert {name: set(run.series(name).stages) for name in stages} == stages
    assert run.info.status == "finished"
    assert (run.params["lr"], run.params["api_key"], run.params["trainer/max_epochs"]) == (0.1, "***", 3)


def test_an_exception_in_training_ends_the_run_as_failed() -> None:
    """The exception passes through, and the run says what it was."""
    pl = importlib.import_module("lightning.pytorch")

    class Module(module_class(pl)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ValueError("theirs")

    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    experiment = tracelet.start_logging("failing", config=SETTINGS)
    with pytest.raises(ValueError, match="theirs"), experiment:
        pl.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(Module(), loader(4, 2), loader(4, 2))
    run = tracelet.open_store().run(experiment.id)
    assert run.info.status == "failed"
    assert "theirs" in run.info.reason
