"""The points of a run equal, name by name, step by step, value by value, what Lightning's own CSVLogger wrote.

Every case is a real module trained by a real Trainer, in both flavours of Lightning: with a CSVLogger that logs every
step, with one that logs every 50 steps, and with no logger at all. tracelet must have the same series in all three.
"""

from __future__ import annotations

import csv
import importlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from tests.sinks import ListSink
from tracelet.integrations.base import SeriesKey
from tracelet.integrations.lightning import LightningIntegration

pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning says about tiny loaders is not our subject

FLAVOURS = ("lightning.pytorch", "pytorch_lightning")
Series = dict[str, list[tuple[int, float]]]
Hooks = dict[str, Any]


class Kept(ListSink):
    """What a training emitted, with points."""

    def points(self) -> list[tuple[Any, ...]]:
        return [item for item in self if isinstance(item, tuple) and not self.key(item).automatic]

    @staticmethod
    def key(item: tuple[Any, ...]) -> SeriesKey:
        assert isinstance(item[0], SeriesKey)
        return item[0]

    def all_series(self) -> Series:
        found: Series = defaultdict(list)
        for point in self.points():
            assert type(point[2]) is not torch.Tensor, "a value on the CPU is a number at once"
            found[self.key(point).name].append((point[1], float(point[2])))
        return found

    def described(self) -> list[tuple[Any, ...]]:
        """All that a point carries but its time."""
        found = []
        for point in self.points():
            key = self.key(point)
            found.append(
                (key.name, key.stage, key.fit, key.reduce, point[1], repr(float(point[2])), point[4], point[5])
            )
        return found


class Endless(IterableDataset[Any]):
    """Batches without a length."""

    def __iter__(self) -> Iterator[Any]:
        torch_state = torch.Generator().manual_seed(3)
        return iter([(torch.randn(4, generator=torch_state),) for _ in range(10)])


def loader(rows: int = 10, batch: int = 4, seed: int = 0) -> DataLoader[Any]:
    data = torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(data), batch_size=batch)


class Case:
    """One way to log: the hooks of a module, the arguments of a trainer, and what is called on it."""

    def __init__(
        self,
        run: Callable[[Any, Any], None] | None = None,
        setup: Callable[[Any], None] | None = None,
        trainer: dict[str, Any] | None = None,
        callbacks: Callable[[Any], list[Any]] | None = None,
        **hooks: Callable[..., Any],
    ) -> None:
        self.run = run or (lambda trainer, module: trainer.fit(module, loader(), loader(6, 4, 1)))
        self.setup = setup or (lambda module: None)
        self.trainer = trainer or {}
        self.callbacks = callbacks or (lambda pl: [])
        self.hooks = hooks


def build(pl: Any, case: Case) -> Any:
    def init(self: Any) -> None:
        pl.LightningModule.__init__(self)
        self.layer = torch.nn.Linear(4, 1)
        case.setup(self)

    def configure_optimizers(self: Any) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0]).square().mean()

    def validation_step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val", self.layer(batch[0]).mean())

    body: dict[str, Any] = {
        "__init__": init, "configure_optimizers": configure_optimizers, "training_step": training_step,
        "validation_step": validation_step, **case.hooks,
    }  # fmt: skip
    return type("Module", (pl.LightningModule,), body)()


def loss_of(module: Any, batch: Any) -> Any:
    return module.layer(batch[0]).square().mean()


def logs(**arguments: Any) -> Callable[..., Any]:
    """A training step that logs its loss with these arguments."""

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = loss_of(self, batch)
        self.log("loss", loss, **arguments)
        return loss

    return training_step


def many(self: Any, batch: Any, batch_idx: int) -> Any:
    loss = loss_of(self, batch)
    self.log_dict({"a": loss, "b": batch_idx, "c": loss * 2}, on_step=True, on_epoch=True, prog_bar=True)
    self.log("hidden", loss, logger=False)
    self.log("only_epoch", loss, on_step=False, on_epoch=True)
    return loss


def odd_values(self: Any, batch: Any, batch_idx: int) -> Any:
    loss = loss_of(self, batch)
    self.log("nan", float("nan") if batch_idx == 1 else 1.0, on_step=True, on_epoch=True)
    self.log("inf", float("inf") if batch_idx else -float("inf"), on_step=True, on_epoch=True)
    self.log("all_nan", torch.tensor(float("nan")))
    return loss


def odd_types(self: Any, batch: Any, batch_idx: int) -> Any:
    loss = loss_of(self, batch)
    for name, value in {
        "half": loss.detach().half(), "bfloat16": loss.detach().bfloat16(), "double": loss.detach().double(),
        "int": torch.tensor(batch_idx), "bool": torch.tensor(batch_idx % 2 == 0), "shaped": loss.detach().reshape(1, 1),
        "python_int": 3, "python_bool": True, "tiny": 1e-42, "grad": loss,
    }.items():  # fmt: skip
        self.log(name, value, on_step=True, on_epoch=True)
    return loss


def reductions(self: Any, batch: Any, batch_idx: int) -> Any:
    loss = loss_of(self, batch)
    for name in ("sum", "min", "max", "mean"):
        self.log(f"by_{name}", loss, on_step=True, on_epoch=True, reduce_fx=name)
        self.log(f"torch_{name}", loss, on_epoch=True, reduce_fx=getattr(torch, name))
    return loss


def manual(self: Any, batch: Any, batch_idx: int) -> None:
    for index, optimizer in enumerate(self.optimizers()):
        loss = loss_of(self, batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.log(f"loss_{index}", loss, on_step=True, on_epoch=True)


def be_manual(self: Any) -> None:
    self.automatic_optimization = False


def two_optimizers(self: Any) -> Any:
    return [torch.optim.SGD([self.layer.weight], lr=0.05), torch.optim.Adam([self.layer.bias], lr=0.01)]


def have_metrics(self: Any) -> None:
    self.mean_metric = torchmetrics.MeanMetric()
    self.max_metric = torchmetrics.MaxMetric()
    self.updated_only = torchmetrics.MeanMetric()
    self.collection = torchmetrics.MetricCollection([torchmetrics.MeanMetric(), torchmetrics.SumMetric()], prefix="c_")
    self.val_metric = torchmetrics.MeanMetric()
    self.composed = torchmetrics.MeanMetric()


def metric_objects(self: Any, batch: Any, batch_idx: int) -> Any:
    loss = loss_of(self, batch)
    for metric in (self.mean_metric, self.max_metric, self.collection):
        metric(loss.detach())
    self.updated_only.update(loss.detach())
    self.log("mean_metric", self.mean_metric, on_step=True, on_epoch=True)
    self.log("max_metric", self.max_metric, on_step=False, on_epoch=True)
    self.log("updated_only", self.updated_only, on_step=True, on_epoch=True)
    self.log_dict(self.collection, on_step=True, on_epoch=True)
    return loss


def metric_in_validation(self: Any, batch: Any, batch_idx: int) -> None:
    self.val_metric.update(self.layer(batch[0]).mean())
    self.log("val_metric", self.val_metric, on_epoch=True)


def composed_at_epoch_end(self: Any) -> None:
    self.composed.reset()
    self.composed.update(3.0)
    self.log_dict({"epoch_end": self.composed.compute()})


def two_loaders(trainer: Any, module: Any) -> None:
    trainer.fit(module, loader(), [loader(6, 4, 1), loader(9, 4, 2)])


def validate_many(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
    value = self.layer(batch[0]).mean()
    self.log("val", value, on_step=True, on_epoch=True)
    self.log("val_sum", value, reduce_fx="sum")
    self.log(f"own_{dataloader_idx}", value, add_dataloader_idx=False)


def in_hooks() -> Hooks:
    def hook(name: str) -> Callable[..., None]:
        def logged(self: Any, *args: Any) -> None:
            self.log(name, float(len(args)) + self.current_epoch)

        return logged

    names = (
        "on_train_epoch_start", "on_train_batch_start", "on_before_zero_grad", "on_train_batch_end",
        "on_train_epoch_end", "on_validation_epoch_start", "on_validation_batch_end", "on_validation_epoch_end",
        "on_train_start", "on_after_backward",
    )  # fmt: skip
    return {name: hook(name) for name in names}


def logging_callbacks(pl: Any) -> list[Any]:
    class Logs(pl.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
            module.log("callback_batch", float(trainer.global_step), on_step=True, on_epoch=True)

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            self.log("callback_epoch", float(trainer.current_epoch))

        def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
            self.log("callback_val", 7.0)

    return [Logs()]


def early_stopping(pl: Any) -> list[Any]:
    return [importlib.import_module(f"{pl.__name__}.callbacks").EarlyStopping("val", patience=1, min_delta=10)]


def own_step(self: Any, batch: Any, batch_idx: int) -> Any:
    loss = loss_of(self, batch)
    self.log("loss", loss, on_step=True, on_epoch=False)
    self.log("step", float(1000 + 10 * self.global_step))
    return loss


def own_step_of_epoch(self: Any) -> None:
    self.log("late", 5.0)
    self.log("step", float(self.current_epoch))


def sometimes(self: Any, batch: Any, batch_idx: int) -> Any:
    loss = loss_of(self, batch)
    if batch_idx % 3 == 1:
        self.log("sometimes", loss, on_step=True, on_epoch=True)
    return None if batch_idx == 2 else loss


def skip_rest(self: Any, batch: Any, batch_idx: int) -> Any:
    return -1 if batch_idx == 2 else None


def log_in_test(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
    self.log("test", self.layer(batch[0]).mean(), on_step=True, on_epoch=True)
    self.log("both", self.layer(batch[0]).sum())


def both_stages(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
    loss = loss_of(self, batch)
    self.log("both", loss, on_step=True, on_epoch=True)
    return loss


def everything_once(trainer: Any, module: Any) -> None:
    trainer.validate(module, loader(), verbose=False)
    trainer.fit(module, loader(), loader(6, 4, 1))
    trainer.test(module, [loader(), loader(5)], verbose=False)
    trainer.fit_loop.max_epochs += 1
    trainer.fit(module, loader(), loader(6, 4, 1))


def save_often(pl: Any) -> list[Any]:
    """Checkpoints between a batch's work and the end of its step, and at the end of epochs."""
    return [
        pl.callbacks.ModelCheckpoint(every_n_train_steps=2, save_top_k=-1, filename="a-{step}"),
        pl.callbacks.ModelCheckpoint(
            every_n_epochs=1, save_on_train_epoch_end=True, save_top_k=-1, filename="b-{epoch}"
        ),
    ]


def resumed(trainer: Any, module: Any) -> None:
    trainer.fit(module, loader(), loader(6, 4, 1))
    path = Path(trainer.default_root_dir) / "own.ckpt"
    trainer.save_checkpoint(path)
    trainer.fit_loop.max_epochs += 2
    trainer.fit(module, loader(), loader(6, 4, 1), ckpt_path=path)


def as_dictionary(trainer: Any, module: Any) -> None:
    rows = [{0: torch.full((4,), float(index))} for index in range(7)]
    trainer.fit(module, DataLoader(rows, batch_size=2), loader())  # type: ignore[arg-type]


CASES: dict[str, Case] = {
    "default": Case(training_step=logs()),
    "on_epoch": Case(training_step=logs(on_step=False, on_epoch=True)),
    "both": Case(training_step=logs(on_step=True, on_epoch=True)),
    "log_dict": Case(training_step=many),
    "prog_bar": Case(training_step=logs(prog_bar=True, on_epoch=True)),
    "enable_graph": Case(training_step=logs(enable_graph=True, on_epoch=True)),
    "sync_dist": Case(training_step=logs(sync_dist=True, on_epoch=True)),
    "rank_zero_only": Case(training_step=logs(rank_zero_only=True, on_epoch=True)),
    "batch_size": Case(training_step=logs(batch_size=7, on_epoch=True)),
    "nan_and_inf": Case(training_step=odd_values),
    "types": Case(training_step=odd_types),
    "reductions": Case(training_step=reductions),
    "manual": Case(training_step=manual, setup=be_manual, configure_optimizers=two_optimizers),
    "torchmetrics": Case(
        training_step=metric_objects, setup=have_metrics, validation_step=metric_in_validation,
        on_train_epoch_end=composed_at_epoch_end,
    ),
    "accumulation": Case(
        training_step=logs(on_step=True, on_epoch=True), trainer={"accumulate_grad_batches": 3},
        run=lambda trainer, module: trainer.fit(module, loader(22, 2), loader(6, 4, 1)),
    ),
    "loaders": Case(training_step=logs(), validation_step=validate_many, run=two_loaders),
    "sanity": Case(training_step=logs(), validation_step=validate_many, trainer={"num_sanity_val_steps": 2}),
    "hooks": Case(**in_hooks()),
    "callbacks": Case(training_step=logs(), callbacks=logging_callbacks),
    "early_stopping": Case(training_step=logs(), callbacks=early_stopping, trainer={"max_epochs": 9}),
    "step": Case(training_step=own_step),
    "step_of_epoch": Case(training_step=logs(), on_train_epoch_end=own_step_of_epoch),
    "val_check": Case(
        training_step=logs(on_step=True, on_epoch=True), validation_step=validate_many,
        trainer={"val_check_interval": 2},
        run=lambda trainer, module: trainer.fit(module, loader(22), loader(6, 4, 1)),
    ),
    "sometimes": Case(training_step=sometimes, run=lambda trainer, module: trainer.fit(module, loader(26), loader())),
    "skipped": Case(training_step=logs(on_epoch=True), on_train_batch_start=skip_rest),
    "same_name": Case(training_step=both_stages, validation_step=both_stages),
    "everything": Case(
        training_step=both_stages, validation_step=both_stages, test_step=log_in_test, run=everything_once
    ),
    "max_steps": Case(training_step=logs(on_epoch=True), trainer={"max_steps": 5, "max_epochs": -1}),
    "max_time": Case(training_step=logs(), trainer={"max_time": "00:01:00:00"}),
    "resumed": Case(training_step=logs(on_epoch=True), run=resumed),
    "iterable": Case(
        training_step=logs(on_epoch=True),
        run=lambda trainer, module: trainer.fit(module, DataLoader(Endless(), batch_size=3), loader()),
    ),
    "checkpoints": Case(
        training_step=logs(on_step=True, on_epoch=True), callbacks=save_often, trainer={"enable_checkpointing": True}
    ),
    "checkpoints_with_gaps": Case(
        training_step=sometimes, callbacks=save_often, trainer={"enable_checkpointing": True},
        run=lambda trainer, module: trainer.fit(module, loader(26), loader()),
    ),
    "checkpoints_and_hooks": Case(**in_hooks(), callbacks=save_often, trainer={"enable_checkpointing": True}),
    "checkpoints_and_own_step": Case(
        training_step=own_step, callbacks=save_often, trainer={"enable_checkpointing": True}
    ),
    "dictionary": Case(training_step=logs(on_epoch=True), run=as_dictionary),
}  # fmt: skip


def run_case(pl: Any, case: Case, folder: Path, logger: Any, every: int) -> Kept:
    kept = Kept()
    integration = LightningIntegration(kept, {})
    integration.start()
    try:
        torch.manual_seed(11)
        module = build(pl, case)
        arguments: dict[str, Any] = {
            "max_epochs": 2, "num_sanity_val_steps": 0, "enable_checkpointing": False, **case.trainer,
            "logger": logger, "log_every_n_steps": every, "default_root_dir": folder, "accelerator": "cpu",
            "devices": 1, "enable_progress_bar": False, "enable_model_summary": False,
            "callbacks": case.callbacks(pl),
        }  # fmt: skip
        case.run(pl.Trainer(**arguments), module)
    finally:
        integration.stop()
    return kept


def read_csv(path: Path) -> Series:
    found: Series = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if text and name not in ("step", "epoch"):
                    # Lightning 2.1 writes 1000.0 where the module logged a `step` of its own.
                    found[name].append((int(float(row["step"])), float(text)))
    return found


def same(one: Series, other: Series) -> None:
    assert sorted(one) == sorted(other)
    for name, expected in other.items():
        found = one[name]
        assert [step for step, _ in found] == [step for step, _ in expected], name
        for (step, left), (_, right) in zip(found, expected):
            assert left == right or (math.isnan(left) and math.isnan(right)), (name, step, left, right)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("name", CASES)
def test_series_equal_those_of_the_csv_logger(name: str, flavour: str, tmp_path: Path) -> None:
    """Names, steps and values equal the CSVLogger's, and do not depend on how often it logs or whether it is there."""
    pl = importlib.import_module(flavour)
    csv_logger = importlib.import_module(f"{flavour}.loggers").CSVLogger
    logger = csv_logger(tmp_path, name="csv", version=0)
    every_step = run_case(pl, CASES[name], tmp_path, logger, 1)
    written = read_csv(tmp_path / "csv" / "version_0" / "metrics.csv")
    assert sum(map(len, written.values())) >= 4, "the case logs something"
    same(every_step.all_series(), written)
    seldom = run_case(pl, CASES[name], tmp_path, csv_logger(tmp_path, name="csv", version=1), 50)
    never = run_case(pl, CASES[name], tmp_path, False, 50)
    assert seldom.described() == every_step.described()
    assert never.described() == every_step.described()
