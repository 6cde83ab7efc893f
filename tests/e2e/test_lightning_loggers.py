"""What a program gives to Lightning's loggers itself, before there is a Trainer, beside one, and through Fabric."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.sinks import ListSink
from tracelet.integrations.lightning import LightningIntegration
from tracelet.journal.records import Params, Scalar

pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning says about tiny trainings is not our subject


class Kept(ListSink):
    """What a training emitted, with parameters."""

    def params(self) -> dict[str, Scalar]:
        return {name: value for item in self if isinstance(item, Params) for name, value in item.values.items()}


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request: pytest.FixtureRequest) -> Any:
    """One flavour of Lightning."""
    return importlib.import_module(request.param)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """What a started integration records."""
    sink = Kept()
    integration = LightningIntegration(sink, {})
    integration.start()
    yield sink
    integration.stop()


def loggers(pl: Any) -> Any:
    return importlib.import_module(f"{pl.__name__}.loggers")


def quiet(pl: Any, **arguments: Any) -> Any:
    return pl.Trainer(
        max_epochs=1, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", devices=1, **arguments,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["CSVLogger", "TensorBoardLogger"])
def test_what_a_logger_is_given_before_the_trainer_is_recorded(kind: str, pl: Any, kept: Kept, tmp_path: Path) -> None:
    """Hyperparameters and metrics of a logger that no Trainer has yet are there, and afterwards nothing twice."""
    logger = getattr(loggers(pl), kind)(tmp_path)
    logger.log_hyperparams({"before": 1})
    logger.log_metrics({"pre": 1.0}, step=3)
    trainer = quiet(pl, logger=logger)
    logger.log_hyperparams({"after": 2})
    trainer.logger.log_metrics({"mid": torch.tensor(2.0)}, step=4)
    del trainer
    logger.log_metrics({"late": 3.0}, step=5)
    logger.finalize("success")
    assert (kept.params()["before"], kept.params()["after"]) == (1, 2)
    assert [kept.series(name) for name in ("pre", "mid", "late")] == [[(3, 1.0)], [(4, 2.0)], [(5, 3.0)]]
    assert kept.series("hp_metric") == []


def test_the_same_given_to_several_loggers_is_recorded_once(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """Several loggers that are given one value are one source; values that differ, or come again, are all kept."""
    first, second = loggers(pl).CSVLogger(tmp_path, version=0), loggers(pl).TensorBoardLogger(tmp_path)
    for value in (1.0, torch.tensor(1.0), torch.tensor(float("nan"))):
        for logger in (first, second):
            logger.log_metrics({"both": value})
    first.log_metrics({"own": 1.0}, step=1)
    second.log_metrics({"own": 2.0}, step=1)
    assert [str(point) for point in kept.series("both")] == ["(None, 1.0)", "(None, 1.0)", "(None, nan)"]
    assert kept.series("own") == [(1, 1.0), (1, 2.0)]
    trainer = quiet(pl, logger=[first, second])
    for logger in trainer.loggers:
        logger.log_metrics({"each": 5.0}, step=2)
        logger.finalize("success")
    assert kept.series("each") == [(2, 5.0)]


def test_a_class_of_the_users_is_seen_once_a_trainer_has_it(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """A logger class built on one of Lightning's, which calls it in turn, records each value once."""

    class Own(loggers(pl).CSVLogger):  # type: ignore[misc]
        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            super().log_metrics({f"own/{name}": value for name, value in metrics.items()}, step)

        def log_hyperparams(self, params: Any = None) -> None:
            super().log_hyperparams({"wrapped": str(params)})

    logger = Own(tmp_path)
    raw = vars(Own)["log_metrics"]
    trainer = quiet(pl, logger=logger)
    assert vars(Own)["log_metrics"] is not raw
    trainer.logger.log_metrics({"m": 1.0}, step=1)
    trainer.logger.log_hyperparams({"h": 1})
    assert (kept.series("m"), kept.series("own/m")) == ([(1, 1.0)], [])
    assert kept.params()["h"] == 1
    assert "wrapped" not in kept.params()


def test_stopping_puts_the_loggers_back(pl: Any, tmp_path: Path) -> None:
    """Methods of Lightning's loggers are as found after `stop`, inherited ones inherited again."""
    kind = loggers(pl).CSVLogger
    before = dict(vars(kind))
    integration = LightningIntegration(Kept(), {})
    integration.start()
    assert vars(kind)["log_hyperparams"] is not before["log_hyperparams"]
    quiet(pl, logger=kind(tmp_path))
    integration.stop()
    assert dict(vars(kind)) == before


@pytest.mark.parametrize("root", ["lightning.fabric", "lightning_fabric"])
def test_a_value_that_fabric_hands_to_a_logger_is_recorded_once(root: str, kept: Kept, tmp_path: Path) -> None:
    """Fabric with one of the trainers' loggers is one source."""
    flavour = "lightning.pytorch" if "." in root else "pytorch_lightning"
    logger = importlib.import_module(f"{flavour}.loggers").CSVLogger(tmp_path)
    fabric = importlib.import_module(root).Fabric(accelerator="cpu", loggers=logger)
    fabric.log("loss", torch.tensor(0.5), step=2)
    assert kept.series("loss") == [(2, 0.5)]
