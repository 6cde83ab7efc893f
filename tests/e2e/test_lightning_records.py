"""What else a training tells: its fits, parameters, learning rates, gradient norms, checkpoints, and how it ended."""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import importlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from tests.sinks import ListSink
from tracelet.integrations.base import Item, SeriesKey
from tracelet.integrations.lightning import LightningIntegration
from tracelet.journal.records import Artifact, Event, Facts, MetricDefinition, Params, Scalar

pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning says about tiny loaders is not our subject


class Kept(ListSink):
    """What a training emitted, with parameters and events."""

    def params(self, source: str = "") -> dict[str, Scalar]:
        found: dict[str, Scalar] = {}
        for item in self:
            if isinstance(item, Params) and source in ("", item.source):
                found.update(item.values)
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        return [item.attributes for item in self if isinstance(item, Event) and item.name == name]

    def names(self) -> set[str]:
        return {p[0].name for p in self if isinstance(p, tuple) and isinstance(p[0], SeriesKey)}


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request: pytest.FixtureRequest) -> Any:
    """One flavour of Lightning."""
    return importlib.import_module(request.param)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """What a started integration records."""
    sink = Kept()
    integration = LightningIntegration(sink, {"track_gradients": True})
    integration.start()
    yield sink
    integration.stop()


def module_class(pl: Any) -> Any:
    class Module(pl.LightningModule):  # type: ignore[misc]
        def __init__(self, lr: float = 0.1, net: Any = None, hub_token: str = "s3cret") -> None:
            super().__init__()
            self.save_hyperparameters()
            self.body = torch.nn.Linear(4, 3)
            self.head = torch.nn.Linear(3, 1)
            self.head.bias.requires_grad_(False)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.head(self.body(batch)).square().mean()
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val", self.head(self.body(batch)).mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

    return Module


def loader(rows: int = 8, batch: int = 2) -> DataLoader[Any]:
    return DataLoader(torch.randn(rows, 4), batch_size=batch)  # type: ignore[arg-type]


def quiet(pl: Any, **arguments: Any) -> Any:
    defaults: dict[str, Any] = {
        "max_epochs": 2, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "accelerator": "cpu", "devices": 1,
    }  # fmt: skip
    return pl.Trainer(**{**defaults, **arguments})


def test_fits_are_numbered_over_all_trainers(pl: Any, kept: Kept) -> None:
    """Every fit of the process has the next number, a validation that of the fitted model; points carry it."""
    module, trainer = module_class(pl)(), quiet(pl)
    trainer.fit(module, loader(), loader())
    trainer.validate(module, loader(), verbose=False)
    quiet(pl).fit(module_class(pl)(), loader(), loader())
    started = [(e["number"], e["kind"], e["trainer"]) for e in kept.events("fit_started")]
    assert started == [(1, "fit", 1), (1, "validate", 1), (2, "fit", 2)]
    finished = kept.events("fit_finished")
    assert [(e["number"], e["status"]) for e in finished] == [(1, "finished"), (1, "finished"), (2, "finished")]
    assert (finished[0]["epochs"], finished[0]["steps"]) == (2, 8)
    points = [(p[0].name, p[0].stage, p[0].fit) for p in kept if isinstance(p, tuple) and isinstance(p[0], SeriesKey)]
    assert {point for point in points if point[0] == "val"} == {("val", "validate", n) for n in (1, 2)}
    assert {point for point in points if point[0] == "loss"} == {("loss", "train", n) for n in (1, 2)}


def test_goals_come_from_monitors_and_torchmetrics(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """What a callback or a scheduler monitors has its mode, a torchmetrics object knows its own; nothing is guessed."""
    torchmetrics = pytest.importorskip("torchmetrics")

    class Module(module_class(pl)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.accuracy = torchmetrics.classification.BinaryAccuracy()
            self.error = torchmetrics.MeanSquaredError()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.accuracy(torch.rand(2), torch.ones(2, dtype=torch.long))
            self.log("train/acc", self.accuracy, on_step=True, on_epoch=False)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.error(torch.rand(2), torch.rand(2))
            self.log("val/mse", self.error)
            self.log("score", batch.mean())
            self.log("val", batch.mean())

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min")
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val"}}

    stopping = pl.callbacks.EarlyStopping(monitor="score", mode="max", patience=9)
    quiet(pl, max_epochs=1, callbacks=[stopping], default_root_dir=tmp_path).fit(Module(), loader(), loader())
    found = {item.name: (item.goal, item.source) for item in kept if isinstance(item, MetricDefinition)}
    assert found == {
        "score": ("max", "lightning"), "val": ("min", "lightning"), "train/acc": ("max", "torchmetrics"),
        "val/mse": ("min", "torchmetrics"),
    }  # fmt: skip
    assert sum(isinstance(item, MetricDefinition) for item in kept) == len(found)


def test_epoch_means_carry_their_weight_and_reduction(pl: Any, kept: Kept) -> None:
    """An epoch's mean says how many examples are behind it; a sum and a step value have no weight."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("mean", batch.mean())
            self.log("sum", batch.mean(), reduce_fx="sum")
            self.log("max", batch.mean(), reduce_fx="max", on_step=True)

    quiet(pl, num_sanity_val_steps=0, max_epochs=1).fit(Module(), loader(), loader(7, 2))
    found = {
        p[0].name: (p[0].reduce, p[5]) for p in kept if isinstance(p, tuple) and isinstance(p[0], SeriesKey)
    }  # fmt: skip
    assert found["mean"] == ("mean", 7)
    assert found["sum"] == ("sum", None)
    assert found["max_step"] == found["max_epoch"] == ("max", None)
    assert found["loss"] == ("mean", None)


def test_hyperparameters_of_module_trainer_optimizer_and_model(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """What was given and what Lightning made of it, flat, with secrets masked, whatever loggers there are."""
    pl.seed_everything(3)
    net = argparse.Namespace(width=3, kind="mlp")
    quiet(pl, gradient_clip_val=0.5, default_root_dir=tmp_path).fit(
        module_class(pl)(lr=0.2, net=net), loader(), loader(6, 3)
    )
    params = kept.params()
    assert {name: params[name] for name in ("lr", "net/width", "net/kind", "hub_token")} == {
        "lr": 0.2, "net/width": 3, "net/kind": "mlp", "hub_token": "***",
    }  # fmt: skip
    assert (params["trainer/gradient_clip_val"], params["trainer/logger"], params["trainer/max_epochs"]) == (
        0.5,
        False,
        2,
    )
    assert params["trainer/default_root_dir"] == str(tmp_path)
    assert (params["setup/seed"], params["setup/precision"], params["setup/devices"]) == (3, "32-true", 1)
    assert params["setup/strategy"] == "SingleDeviceStrategy"
    assert (params["optimizer/0/class"], params["optimizer/0/lr"]) == ("torch.optim.sgd.SGD", 0.2)
    assert (params["data/train/batch_size"], params["data/validate/batch_size"]) == (2, 3)
    assert (params["model/parameters"], params["model/trainable_parameters"]) == (19, 18)
    (facts,) = [item for item in kept if isinstance(item, Facts)]
    assert facts.topic == "model"
    children = [(child["name"], child["type"], child["parameters"]) for child in facts.values["children"]]
    assert children == [("body", "Linear", 15), ("head", "Linear", 4)]


def test_callbacks_and_schedulers_are_recorded_with_their_settings(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """Constructor arguments of callbacks, plugins and schedulers are parameters; what they count is none."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val", 1.0)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=7, min_lr=0.01)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val"}}

    callbacks = importlib.import_module(f"{pl.__name__}.callbacks")
    plugins = importlib.import_module(f"{pl.__name__}.plugins")
    saved = [callbacks.ModelCheckpoint(tmp_path, monitor="val", save_top_k=2, mode=mode) for mode in ("min", "max")]
    stopping = callbacks.EarlyStopping("val", min_delta=0.25, patience=9, mode="min")
    plugin = plugins.MixedPrecision("bf16-mixed", "cpu")
    trainer = quiet(
        pl, callbacks=[stopping, *saved], enable_checkpointing=True, plugins=[plugin],
        max_time=datetime.timedelta(hours=2),
    )  # fmt: skip
    for _ in range(2):
        trainer.fit(Module(), loader(), loader())
    params = kept.params()
    expected = {
        "trainer/callbacks/EarlyStopping/monitor": "val", "trainer/callbacks/EarlyStopping/patience": 9,
        "trainer/callbacks/EarlyStopping/mode": "min", "trainer/callbacks/EarlyStopping/min_delta": 0.25,
        "trainer/callbacks/ModelCheckpoint/save_top_k": 2, "trainer/callbacks/ModelCheckpoint-2/mode": "max",
        "trainer/plugins/MixedPrecision/precision": "bf16-mixed", "trainer/max_time": "2:00:00",
        "scheduler/0/patience": 7, "scheduler/0/min_lr": "[0.01]", "scheduler/0/monitor": "val",
    }  # fmt: skip
    assert {name: params.get(name) for name in expected} == expected
    state = {"best", "num_bad_epochs", "cooldown_counter", "mode_worse", "wait_count", "stopped_epoch", "best_score"}
    assert not {name for name in params if name.rpartition("/")[2] in state}


def test_a_value_missing_in_a_configuration_costs_only_itself(pl: Any, kept: Kept) -> None:
    """Of a module that was given an OmegaConf configuration with `???` all other hyperparameters are recorded."""
    config = OmegaConf.create({"out": "???", "lr": 0.1, "layers": [64, 128]})
    quiet(pl).fit(module_class(pl)(lr=0.2, net=config), loader(), loader())
    names = ("lr", "net/out", "net/lr", "net/layers")
    assert [kept.params()[name] for name in names] == [0.2, "???", 0.1, "[64, 128]"]


def test_groups_of_the_user_and_facts_of_ours_are_both_kept(pl: Any, kept: Kept) -> None:
    """Hyperparameters in groups named `model` and `trainer` stay beside what is recorded under these names."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"model": {"class": "resnet18"}, "trainer": {"max_epochs": 50}})

    quiet(pl).fit(Module(), loader(), loader())
    found = {
        (item.source, name): value for item in kept if isinstance(item, Params) for name, value in item.values.items()
    }
    assert (found["module", "model/class"], found["model", "model/class"]) == (
        "resnet18", f"{Module.__module__}.{Module.__qualname__}"
    )  # fmt: skip
    assert (found["module", "trainer/max_epochs"], found["trainer", "trainer/max_epochs"]) == (50, 2)


def test_unchanged_parameters_are_told_once(pl: Any, kept: Kept) -> None:
    """A fit tells each of its parameters once, whatever earlier ones told; a second trainer only what differs."""
    trainer, module = quiet(pl), module_class(pl)()
    trainer.fit(module, loader(), loader())
    trainer.validate(module, loader(), verbose=False)
    quiet(pl).fit(module_class(pl)(), loader(), loader())
    quiet(pl, max_epochs=1).fit(module_class(pl)(), loader(), loader())
    told = [item for item in kept if isinstance(item, Params)]
    first, second, third = (
        {name: value for item in told if item.fit == fit for name, value in item.values.items()} for fit in (1, 2, 3)
    )
    names = [(item.fit, name) for item in told for name in item.values]
    assert len(names) == len(set(names))
    outside = {name: value for item in told if not item.fit for name, value in item.values.items()}
    assert outside.pop("trainer/3/max_epochs") == 1
    assert {**outside, **first} == second == {**third, "trainer/max_epochs": 2}


def test_hyperparameters_kept_from_loggers_are_kept_from_the_run(pl: Any, kept: Kept) -> None:
    """`save_hyperparameters(logger=False)` means what it says."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def __init__(self, hidden: int = 7) -> None:
            super().__init__()
            self._log_hyperparams = False

    quiet(pl).fit(Module(), loader(), loader())
    assert "hidden" not in kept.params()
    assert "lr" not in kept.params()


def test_datamodule_and_logged_hyperparameters(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """A datamodule's parameters stand beside the module's; `log_hyperparams` calls on a logger are seen too."""

    class Data(pl.LightningDataModule):  # type: ignore[misc]
        def __init__(self, rows: int = 8) -> None:
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return loader(self.hparams.rows)

        def val_dataloader(self) -> Any:
            return loader()

    class Module(module_class(pl)):  # type: ignore[misc]
        def on_train_start(self) -> None:
            self.logger.log_hyperparams({"own": {"deep": 1}})

    logger = importlib.import_module(f"{pl.__name__}.loggers").CSVLogger(tmp_path)
    trainer = quiet(pl, logger=logger)
    trainer.fit(Module(), datamodule=Data(rows=6))
    assert kept.params("datamodule") == {"rows": 6}
    assert kept.params("logger") == {"own/deep": 1}
    assert "lr" in kept.params("module")


def test_logging_hyperparameters_without_a_logger_fails_as_it_does(pl: Any, kept: Kept) -> None:
    """With `logger=False`, `self.logger` is None and stays None: the user's AttributeError is not ours to mend."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def on_train_start(self) -> None:
            self.logger.log_hyperparams({"own": 1})

    with pytest.raises(AttributeError, match="log_hyperparams"):
        quiet(pl).fit(Module(), loader(), loader())
    assert kept.events("fit_finished")[0]["status"] == "failed"


OPTIMIZERS = {
    "one": lambda m: torch.optim.Adam(m.parameters(), lr=0.1),
    "groups": lambda m: torch.optim.SGD(
        [{"params": m.body.parameters(), "lr": 0.5}, {"params": m.head.parameters()}], lr=0.1
    ),
    "named": lambda m: torch.optim.SGD([{"params": m.parameters(), "name": "all"}], lr=0.1),
    "scheduled": lambda m: (
        [o := torch.optim.SGD(m.parameters(), lr=0.1)],
        [{"scheduler": torch.optim.lr_scheduler.ExponentialLR(o, 0.9), "interval": "step"}],
    ),
    "by_epoch": lambda m: ([o := torch.optim.SGD(m.parameters(), lr=0.1)], [torch.optim.lr_scheduler.StepLR(o, 1)]),
    "scheduler_name": lambda m: (
        [o := torch.optim.SGD(m.parameters(), lr=0.1)],
        [{"scheduler": torch.optim.lr_scheduler.StepLR(o, 1), "name": "mine", "interval": "step"}],
    ),
}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("which", OPTIMIZERS)
def test_learning_rates_equal_the_monitors(which: str, accumulate: int, pl: Any, kept: Kept, tmp_path: Path) -> None:
    """Names, steps and values are those that LearningRateMonitor logs at every step."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def configure_optimizers(self) -> Any:
            make: Any = OPTIMIZERS[which]
            return make(self)

    monitor = importlib.import_module(f"{pl.__name__}.callbacks").LearningRateMonitor("step")
    logger = importlib.import_module(f"{pl.__name__}.loggers").CSVLogger(tmp_path, flush_logs_every_n_steps=10**6)
    rows: list[tuple[int, str, float]] = []

    def log_metrics(metrics: dict[str, float], step: int) -> None:
        rows.extend((step, name, value) for name, value in metrics.items())

    logger.log_metrics = log_metrics
    trainer = quiet(pl, logger=logger, callbacks=[monitor], log_every_n_steps=1, accumulate_grad_batches=accumulate)
    trainer.fit(Module(), loader(), loader())
    assert monitor.lrs
    for name in monitor.lrs:
        logged = {step: value for step, given, value in rows if given == name}
        assert dict(kept.series(name)) == logged
        assert len(kept.series(name)) == len(logged), "one point a step, however many batches it takes"


def test_learning_rates_of_several_optimizers_equal_the_monitors(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """Optimizers of one class are told apart as LearningRateMonitor does."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self.head(self.body(batch)).square().mean())
                optimizer.step()

        def configure_optimizers(self) -> Any:
            halves = self.body.parameters(), self.head.parameters()
            return [torch.optim.SGD(half, lr=0.1 * n) for n, half in enumerate(halves, 1)]

    monitor = importlib.import_module(f"{pl.__name__}.callbacks").LearningRateMonitor("step")
    logger = importlib.import_module(f"{pl.__name__}.loggers").CSVLogger(tmp_path)
    quiet(pl, logger=logger, callbacks=[monitor], log_every_n_steps=1).fit(Module(), loader(), loader())
    assert sorted(monitor.lrs) == ["lr-SGD", "lr-SGD-1"]
    assert kept.series("lr-SGD") == [(step, 0.1) for step in range(8)]
    assert kept.series("lr-SGD-1") == [(step, 0.2) for step in range(8)]
    assert len(kept.series("tracelet/grad_norm/0")) == len(kept.series("tracelet/grad_norm/1")) == 8


def test_gradient_norms_equal_pytorchs(pl: Any, kept: Kept) -> None:
    """The norm is that of the whole gradient, before clipping, at every optimizer step."""
    norms: list[float] = []

    class Module(module_class(pl)):  # type: ignore[misc]
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            parameters = [p for p in self.parameters() if p.grad is not None]
            norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, float("inf"))))

    quiet(pl, gradient_clip_val=0.01).fit(Module(), loader(), loader())
    assert [step for step, _ in kept.series("tracelet/grad_norm")] == list(range(8))
    assert [value for _, value in kept.series("tracelet/grad_norm")] == pytest.approx(norms, rel=1e-5)


def test_a_gradient_norm_of_the_module_is_a_series_of_its_own(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """What a module logs as `grad_norm` equals the CSVLogger's rows, while ours are recorded beside it."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.log("grad_norm", 7.0 + self.global_step)

    logger = importlib.import_module(f"{pl.__name__}.loggers").CSVLogger(tmp_path, name="", version="")
    quiet(pl, logger=logger, log_every_n_steps=1).fit(Module(), loader(), loader())
    with (tmp_path / "metrics.csv").open(newline="") as file:
        written = [(int(row["step"]), float(row["grad_norm"])) for row in csv.DictReader(file) if row["grad_norm"]]
    assert len(written) == 8
    assert kept.series("grad_norm") == written
    assert [step for step, _ in kept.series("tracelet/grad_norm")] == list(range(8))


def test_checkpoints_are_referred_to(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """Each file once, with size, step, monitor and score; the fit ends with the best of them."""
    checkpoint = importlib.import_module(f"{pl.__name__}.callbacks").ModelCheckpoint(
        tmp_path, monitor="val", save_top_k=1, mode="max", filename="{epoch}"
    )

    class Module(module_class(pl)):  # type: ignore[misc]
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val", float(self.current_epoch))

    trainer = quiet(pl, callbacks=[checkpoint], enable_checkpointing=True)
    trainer.fit(Module(), loader(), loader())
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    first, second, own = [item for item in kept if isinstance(item, Artifact)]
    assert [item.kind for item in (first, second, own)] == ["checkpoint"] * 3
    assert second.path == checkpoint.best_model_path == str(tmp_path / "epoch=1.ckpt")
    assert second.size == Path(second.path).stat().st_size
    assert (second.metadata["monitor"], second.metadata["score"], second.metadata["best"]) == ("val", 1.0, True)
    assert (second.metadata["step"], second.metadata["epoch"], second.metadata["fit"]) == (8, 1, 1)
    assert (own.name, own.size) == ("own.ckpt", (tmp_path / "own.ckpt").stat().st_size)
    assert kept.events("checkpoint_removed") == [{"path": first.path}]
    (finished,) = kept.events("fit_finished")
    assert (finished["best_checkpoint"], finished["best_score"], finished["monitor"]) == (second.path, 1.0, "val")


def test_a_linked_checkpoint_is_recorded_with_its_target(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """`save_last="link"` makes a link, which is an artifact like the file that it points to."""
    checkpoint = importlib.import_module(f"{pl.__name__}.callbacks").ModelCheckpoint(tmp_path, save_last="link")
    quiet(pl, callbacks=[checkpoint], enable_checkpointing=True, max_epochs=1).fit(module_class(pl)(), loader())
    saved, link = [item for item in kept if isinstance(item, Artifact)]
    assert (link.name, link.path, link.size) == ("last.ckpt", str(tmp_path / "last.ckpt"), saved.size)
    assert Path(link.path).is_symlink()
    assert (link.metadata["link_to"], link.metadata["step"], link.metadata["fit"]) == (saved.path, 4, 1)


class Thaw:
    """Cases of a model whose layers thaw in the second epoch."""

    @staticmethod
    def callback(pl: Any) -> Any:
        base: Any = importlib.import_module(f"{pl.__name__}.callbacks").BaseFinetuning

        class Thawing(base):  # type: ignore[misc]
            def freeze_before_training(self, module: Any) -> None:
                self.freeze(module.body)

            def finetune_function(self, module: Any, epoch: int, optimizer: Any) -> None:
                if epoch == 1:
                    self.unfreeze_and_add_param_group(module.body, optimizer, lr=0.01)

        return Thawing()

    @staticmethod
    def module(pl: Any) -> Any:
        class Module(module_class(pl)):  # type: ignore[misc]
            def configure_optimizers(self) -> Any:
                optimizer = torch.optim.SGD(self.head.parameters(), lr=0.1)
                return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

        return Module()


def test_thawing_shows_in_rates_and_trainable_parameters(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """A callback adds a parameter group beside a LearningRateMonitor: each renamed rate has each step once, and the
    number of trainable parameters is a series from then on.
    """
    monitor = importlib.import_module(f"{pl.__name__}.callbacks").LearningRateMonitor()
    logger = importlib.import_module(f"{pl.__name__}.loggers").CSVLogger(tmp_path)
    fitter = quiet(pl, callbacks=[Thaw.callback(pl), monitor], logger=logger, max_epochs=3, log_every_n_steps=1)
    fitter.fit(Thaw.module(pl), loader())
    assert [step for step, _ in kept.series("lr-SGD")] == [0, 1, 2, 3]
    for name in ("lr-SGD/pg1", "lr-SGD/pg2"):
        assert [step for step, _ in kept.series(name)] == list(range(4, 12))
    assert kept.series("model/trainable_parameters") == [(0, 3.0), (4, 18.0)]


def test_a_resumed_fit_has_the_configured_rate(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """The checkpoint restores the rate that the schedulers had reached: a point of its series, no hyperparameter."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]

    first = quiet(pl, max_epochs=3)
    first.fit(Module(), loader())
    first.save_checkpoint(tmp_path / "a.ckpt")
    quiet(pl, max_epochs=4).fit(Module(), loader(), ckpt_path=str(tmp_path / "a.ckpt"))
    assert kept.params()["optimizer/0/lr"] == 0.1
    assert kept.series("lr-SGD")[-1] == (15, 0.0125)


def test_what_a_checkpoint_holds_is_recorded_before_it_is_written(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """When the file is written the journal was asked to keep everything up to the very step that the file holds."""
    plain: Any = importlib.import_module(f"{pl.__name__}.plugins.io").TorchCheckpointIO
    held: list[tuple[int, int, int]] = []

    class Watching(plain):  # type: ignore[misc]
        def save_checkpoint(self, checkpoint: Any, *args: Any, **kwargs: Any) -> None:
            steps = [step for step, _ in kept.series("logged")]
            held.append((checkpoint["global_step"], len(steps), kept.flushed))
            super().save_checkpoint(checkpoint, *args, **kwargs)

    class Module(module_class(pl)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            self.log("logged", loss)
            return loss

    checkpoint = importlib.import_module(f"{pl.__name__}.callbacks").ModelCheckpoint(tmp_path, every_n_train_steps=3)
    quiet(pl, callbacks=[checkpoint], enable_checkpointing=True, plugins=[Watching()]).fit(Module(), loader())
    assert [step for step, _, _ in held] == [3, 6]
    assert all(step == recorded for step, recorded, _ in held)
    assert all(flushed for _, _, flushed in held)
    assert [step for step, _ in kept.series("logged")] == list(range(8))


def test_early_stopping_says_why_and_when(pl: Any, kept: Kept) -> None:
    """Monitor, value, reason, epoch and step of the decision."""
    stopping = importlib.import_module(f"{pl.__name__}.callbacks").EarlyStopping("val", patience=1, min_delta=100.0)
    quiet(pl, callbacks=[stopping], max_epochs=9).fit(module_class(pl)(), loader(), loader())
    (event,) = kept.events("early_stopping")
    assert (event["monitor"], event["epoch"], event["fit"]) == ("val", 1, 1)
    assert "did not improve" in event["reason"]
    assert event["value"] == kept.series("val")[-1][1]


def test_a_tuners_trials_are_no_part_of_the_run(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """`lr_find` and `scale_batch_size` leave no points, and the fit that follows is whole."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.batch_size = 2

        def train_dataloader(self) -> Any:
            return loader(64, self.batch_size)

    module, trainer = Module(), quiet(pl, default_root_dir=tmp_path, max_epochs=1)
    tuner = importlib.import_module(f"{pl.__name__}.tuner").Tuner(trainer)
    tuner.lr_find(module, num_training=8, val_dataloaders=loader())
    tuner.scale_batch_size(module, max_trials=2, steps_per_trial=1, val_dataloaders=loader())
    assert kept.names() == set()
    assert [event["tuned"] for event in kept.events("fit_finished")] == [True, True]
    trainer.fit(module, val_dataloaders=loader())
    assert [step for step, _ in kept.series("loss")] == list(range(len(module.train_dataloader())))


def test_an_exception_passes_and_ends_the_fit_alone(pl: Any, kept: Kept) -> None:
    """The user gets the object that was raised, and may catch it: the fit has failed, the process has not."""
    error = ValueError("theirs\nsecond line")

    class Module(module_class(pl)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise error

    with pytest.raises(ValueError, match="theirs") as caught:
        quiet(pl).fit(Module(), loader(), loader())
    assert caught.value is error
    (finished,) = kept.events("fit_finished")
    assert (finished["status"], finished["reason"]) == ("failed", "ValueError: theirs")
    assert kept.expected == ("", "")


def test_an_exit_with_a_code_is_a_failure(pl: Any, kept: Kept) -> None:
    """`sys.exit(3)` inside a training is expected to end the process, until another fit begins."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        quiet(pl).fit(Module(), loader(), loader())
    assert kept.expected == ("failed", "SystemExit: 3")
    quiet(pl).fit(module_class(pl)(), loader(), loader())
    assert kept.expected == ("", "")


def test_ctrl_c_that_lightning_swallows_is_interrupted(pl: Any, kept: Kept) -> None:
    """Lightning makes of a KeyboardInterrupt an exit, or once a return; the run is interrupted, not failed."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    try:
        with contextlib.suppress(SystemExit):  # Lightning before 2.2 does not even exit
            quiet(pl).fit(Module(), loader(), loader())
    finally:
        signal.signal(signal.SIGINT, before)
    assert kept.expected == ("interrupted", "KeyboardInterrupt")


def test_sigterm_is_preempted(pl: Any, kept: Kept) -> None:
    """Lightning's SIGTERMException says that somebody wanted the machine."""
    sigterm = importlib.import_module(f"{pl.__name__}.utilities.exceptions").SIGTERMException

    class Module(module_class(pl)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise sigterm

    with pytest.raises(sigterm):
        quiet(pl).fit(Module(), loader(), loader())
    assert kept.expected == ("preempted", "SIGTERM")


def test_starting_in_the_middle_of_a_fit_records_from_there(pl: Any) -> None:
    """An integration that starts inside a callback counts the running fit and takes its remaining steps."""
    sink = Kept()
    integration = LightningIntegration(sink, {})

    class Module(module_class(pl)):  # type: ignore[misc]
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:
                integration.start()

    quiet(pl, max_epochs=1, num_sanity_val_steps=0).fit(Module(), loader(), loader())
    integration.stop()
    assert [step for step, _ in sink.series("loss")] == [2, 3]
    assert [event["number"] for event in sink.events("fit_started")] == [1]
    assert [(event["number"], event["steps"]) for event in sink.events("fit_finished")] == [(1, 4)]


def test_metrics_given_to_a_logger_are_recorded_once(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """`logger.log_metrics` of a module or a callback is a point, however many loggers a callback writes to."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.logger.log_metrics({"own": torch.tensor(float(batch_idx))}, step=100 + batch_idx)
            for logger in self.loggers:
                logger.log_metrics({"each": 1.0})

    make = importlib.import_module(f"{pl.__name__}.loggers").CSVLogger
    callback = importlib.import_module(f"{pl.__name__}.callbacks").LearningRateMonitor()
    loggers = [make(tmp_path, version=0), make(tmp_path, version=1)]
    trainer = quiet(pl, logger=loggers, max_epochs=1, log_every_n_steps=1, callbacks=[callback])
    trainer.fit(Module(), loader(), loader())
    loggers[0].log_metrics({"after": 3}, 7)
    assert kept.series("own") == [(100 + step, float(step)) for step in range(4)]
    assert kept.series("each") == [(step, 1.0) for step in range(4)]
    assert kept.series("after") == [(7, 3)]
    assert len(kept.series("loss")) == len(kept.series("lr-SGD")) == 4
    assert "hp_metric" not in kept.names()


def test_values_on_another_device_are_never_read(pl: Any) -> None:
    """A tensor elsewhere stays a tensor, detached, at steps and epochs: reading one of the meta device would raise."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            away = torch.ones((), device="meta", requires_grad=True) * 2
            self.log_dict({"both": away, "step": away.detach()}, on_step=True, on_epoch=True)
            return self.head(self.body(batch)).square().mean()

        def on_train_end(self) -> None:
            done.extend(sink)
            raise StopIteration  # Lightning's own end would move the values to the CPU

    done: list[Item] = []
    sink = Kept()
    integration = LightningIntegration(sink, {})
    integration.start()
    with contextlib.suppress(Exception):
        quiet(pl, max_epochs=1, num_sanity_val_steps=0).fit(Module(), loader())
    integration.stop()
    points = [p for p in done if isinstance(p, tuple) and isinstance(p[0], SeriesKey) and p[0].name.startswith("both")]
    assert [p[0].name for p in points] == ["both_step"] * 4 + ["both_epoch"]
    assert all(isinstance(p[2], torch.Tensor) and p[2].is_meta and not p[2].requires_grad for p in points)


def test_an_entry_point_within_a_fit_leaves_the_fit_its_end(pl: Any, kept: Kept) -> None:
    """`trainer.validate()` inside a hook belongs to the fit around it, which continues and ends as itself."""

    class Validating(pl.Callback):  # type: ignore[misc]
        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.validate(pl_module, loader(), verbose=False)
            trainer.validate(pl_module, loader(), verbose=False)

    trainer = quiet(pl, callbacks=[Validating()])
    trainer.fit(module_class(pl)(), loader(), loader())
    assert [(e["number"], e["kind"]) for e in kept.events("fit_started")] == [
        (1, "fit"), (1, "validate"), (1, "validate"),
    ]  # fmt: skip
    finished = kept.events("fit_finished")
    assert [(e["number"], e["kind"], e["status"]) for e in finished] == [
        (1, "validate", "finished"), (1, "validate", "finished"), (1, "fit", "finished"),
    ]  # fmt: skip
    assert (finished[-1]["epochs"], finished[-1]["steps"]) == (2, 8)
    trainer.validate(module_class(pl)(), loader(), verbose=False)
    assert kept.events("fit_finished")[-1]["number"] == 0, "this model was not fitted"


def test_the_arguments_of_a_trainer_made_before_are_read_from_it(pl: Any, tmp_path: Path) -> None:
    """A Trainer made before the recording shows what it was given, once; one made later is told as ever."""
    trainer = quiet(pl, gradient_clip_val=0.5, accumulate_grad_batches=2, limit_val_batches=3, log_every_n_steps=7)
    sink = Kept()
    integration = LightningIntegration(sink, {})
    integration.start()
    trainer.fit(module_class(pl)(), loader(), loader())
    before = len(sink)
    trainer.validate(module_class(pl)(), loader(), verbose=False)
    assert not [item for item in sink[before:] if isinstance(item, Params) and item.source == "trainer"]
    quiet(pl, max_epochs=1)
    integration.stop()
    params = sink.params("trainer")
    expected = {
        "max_epochs": 2, "max_steps": -1, "gradient_clip_val": 0.5, "accumulate_grad_batches": 2,
        "limit_val_batches": 3, "log_every_n_steps": 7, "precision": "32-true", "val_check_interval": 1.0,
    }  # fmt: skip
    assert {name: params[f"trainer/{name}"] for name in expected} == expected
    assert params["trainer/2/max_epochs"] == 1


def test_what_the_command_line_of_lightning_keeps_for_itself_is_no_parameter(
    pl: Any, kept: Kept, tmp_path: Path
) -> None:
    """The keys that LightningCLI puts among hyperparameters are not recorded, from the module or through a logger."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"width": 5, "_class_path": "a.Module", "_instantiator": "a.instantiate"})

    logger = importlib.import_module(f"{pl.__name__}.loggers").CSVLogger(tmp_path)
    quiet(pl, logger=logger).fit(Module(), loader(), loader())
    assert kept.params()["width"] == 5
    assert not [name for name in kept.params() if name.startswith("_")]
