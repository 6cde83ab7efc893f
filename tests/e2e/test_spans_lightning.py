"""The spans of real Lightning trainings: tree, counts, what they explain, and what failures leave behind."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import signal
import threading
import time
from collections import Counter, UserDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import tracelet
from tracelet import telemetry
from tracelet.journal.records import Event, Span
from tracelet.store.run import Run
from tracelet.telemetry.names import ITERATIONS, PHASES
from tracelet.telemetry.reading.span_node import SpanNode
from tracelet.telemetry.reading.span_tree import ProcessSpans, processes

pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning says about tiny loaders is not our subject

SETTINGS = {
    "track_git": False, "track_env": False, "track_system": False, "delivery": "off", "quiet": True,
    "telemetry_interval": 4,
}  # fmt: skip
AUTOMATIC = ["data_loading", "batch_transfer", "callbacks", "model_forward", "zero_grad", "model_backward"]
STEP = [*AUTOMATIC, "optimizer_update", "callbacks", "metric_logging"]
EVALUATION = ["data_loading", "batch_transfer", "callbacks", "model_forward", "callbacks", "metric_logging"]


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request: pytest.FixtureRequest) -> Any:
    """One flavour of Lightning."""
    return importlib.import_module(request.param)


@pytest.fixture
def lightning() -> Any:
    """One flavour, where the other would show the same."""
    return importlib.import_module("lightning.pytorch")


class Recorded:
    """A run, looked at after it has ended."""

    run: Run
    process: ProcessSpans

    def names(self, depth: int = 99) -> Any:
        """The tree as nested lists of names; `callbacks` hooks outside iterations left out."""
        return [_shape(node, depth) for node in self.process.roots]

    def named(self, name: str) -> list[SpanNode]:
        return [node for node in self.process if node.span.name == name]

    def one(self, name: str) -> SpanNode:
        (found,) = self.named(name)
        return found

    def counts(self) -> Counter[str]:
        return Counter(node.span.name for node in self.process)

    def events(self, name: str) -> list[Event]:
        return [event for event in self.run.events(name) if event.span]


def _shape(node: SpanNode, depth: int) -> Any:
    inside = [
        child for child in node.children if not (child.span.name == "callbacks" and "hook" in child.span.attributes)
    ]
    return (node.span.name, [_shape(child, depth - 1) for child in inside]) if inside and depth else node.span.name


@contextlib.contextmanager
def recorded(**settings: Any) -> Iterator[Recorded]:
    found = Recorded()
    with contextlib.ExitStack() as stack:
        experiment = stack.enter_context(tracelet.start_logging("spans", config={**SETTINGS, **settings}))
        yield found
    found.run = tracelet.open_store().run(experiment.id)
    (found.process,) = processes(found.run)


def module_class(pl: Any, base: Any = None) -> Any:
    class Module(base or pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch).square().mean()
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val", self.layer(batch).mean())

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("test", self.layer(batch).mean())

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module


def loader(rows: int = 8, batch: int = 2) -> DataLoader[Any]:
    return DataLoader(torch.randn(rows, 4), batch_size=batch)  # type: ignore[arg-type]


def trainer(pl: Any, **arguments: Any) -> Any:
    defaults: dict[str, Any] = {
        "max_epochs": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 0,
    }  # fmt: skip
    return pl.Trainer(**{**defaults, **arguments})


def test_a_fit_with_validation_and_checkpoint(pl: Any, tmp_path: Path) -> None:
    """The tree of a fit of two epochs is exactly this one."""
    with recorded() as found:
        data = loader()
        model = module_class(pl)()
        fitter = trainer(pl, max_epochs=2, limit_train_batches=2, limit_val_batches=1, num_sanity_val_steps=1)
        fitter.fit(model, data, data)
        fitter.save_checkpoint(tmp_path / "end.ckpt")
    step, check = ("training_single_iteration", STEP), ("validation_single_iteration", EVALUATION)
    assert found.names() == [
        ("application", [
            "data_loader_initialization",
            "model_initialization",
            "optimizer_initialization",
            ("validation_loop", ["data_loader_initialization", check]),
            "data_loader_initialization",
            ("training_loop", [step, step, ("validation_loop", [check]), "data_loading",
                               step, step, ("validation_loop", [check])]),
            "checkpoint_save_sync",
        ])
    ]  # fmt: skip
    assert found.named("validation_loop")[0].span.attributes["sanity_check"] is True
    assert found.named("data_loader_initialization")[0].span.duration_ns > 0


def test_test_validate_predict(pl: Any) -> None:
    """Testing, validating and predicting have their loops and iterations."""
    with recorded() as found:
        model, data = module_class(pl)(), loader(4)
        single = trainer(pl)
        single.test(model, data, verbose=False)
        single.validate(model, data, verbose=False)
        single.predict(model, data)
    rest = EVALUATION[:-1]
    loops = [item for item in found.names()[0][1] if isinstance(item, tuple)]
    assert loops == [
        ("testing_loop", ["data_loader_initialization", *[("testing_single_iteration", EVALUATION)] * 2]),
        ("validation_loop", ["data_loader_initialization", *[("validation_single_iteration", EVALUATION)] * 2]),
        (
            "predict_loop",
            ["data_loader_initialization", *[("predict_single_iteration", [*rest, "metric_logging"])] * 2],
        ),
    ]
    assert [event.attributes["batches"] for event in found.events("testing_metrics_update")] == [2]


def independent_counter(pl: Any) -> Any:
    """A callback that counts by Lightning's public hooks alone."""

    class Counting(pl.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.seen: Counter[str] = Counter()

        def on_train_start(self, *_: Any) -> None:
            self.seen["training_loop"] += 1

        def on_train_batch_start(self, *_: Any) -> None:
            self.seen["training_single_iteration"] += 1

        def on_before_backward(self, *_: Any) -> None:
            self.seen["model_backward"] += 1

        def on_before_optimizer_step(self, *_: Any) -> None:
            self.seen["optimizer_update"] += 1

        def on_before_zero_grad(self, *_: Any) -> None:
            self.seen["zero_grad"] += 1

        def on_validation_start(self, *_: Any) -> None:
            self.seen["validation_loop"] += 1

        def on_validation_batch_end(self, *_: Any) -> None:
            self.seen["validation_single_iteration"] += 1

        def on_test_batch_end(self, *_: Any) -> None:
            self.seen["testing_single_iteration"] += 1

        def on_save_checkpoint(self, *_: Any) -> None:
            self.seen["checkpoint_save_sync"] += 1

    return Counting()


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from torch.randn(7, 4)


TRAININGS: dict[str, dict[str, Any]] = {
    "accumulation": {"accumulate_grad_batches": 3, "max_epochs": 2},
    "validation inside the epoch": {"val_check_interval": 2, "max_epochs": 2},
    "max_steps": {"max_steps": 5, "max_epochs": -1},
    "checkpoints": {"enable_checkpointing": True, "max_epochs": 3},
    "gradient clipping": {"gradient_clip_val": 0.5},
    "no validation": {"limit_val_batches": 0},
    "sanity check": {"num_sanity_val_steps": 2},
    "user's profiler": {"profiler": "simple"},
    "overfit": {"overfit_batches": 2, "max_epochs": 2},
}


@pytest.mark.parametrize("name", TRAININGS)
def test_counts_equal_those_of_a_callback(lightning: Any, name: str) -> None:
    """There are as many spans of each kind as Lightning has called its public hooks."""
    counting = independent_counter(lightning)
    with recorded() as found:
        fitter = trainer(lightning, callbacks=[counting], **TRAININGS[name])
        fitter.fit(module_class(lightning)(), loader(10), loader(4))
        fitter.test(module_class(lightning)(), loader(6), verbose=False)
    counts = found.counts()
    assert {kind: counts[kind] for kind in counting.seen} == dict(counting.seen)
    assert counts["model_forward"] == sum(counts[kind] for kind in ITERATIONS)


@pytest.mark.parametrize("data", ["iterable", "combined", "step takes iterator"])
def test_kinds_of_data(lightning: Any, data: str) -> None:
    """Streams, several loaders and steps that fetch for themselves have one loading span for each iteration."""

    class Fetching(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, dataloader_iter: Any) -> Any:
            batch, _, _ = next(dataloader_iter)
            return self.layer(batch).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Combined(module_class(lightning)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch["a"]).square().mean() + self.layer(batch["b"]).mean()

    given: dict[str, tuple[Any, Any, int]] = {
        "iterable": (module_class(lightning), DataLoader(Endless(), batch_size=2), 4),
        "combined": (Combined, {"a": loader(8), "b": loader(4)}, 4),
        "step takes iterator": (Fetching, loader(8), 4),
    }
    kind, source, expected = given[data]
    with recorded() as found:
        trainer(lightning).fit(kind(), source)
    steps = found.named("training_single_iteration")
    assert len(steps) == expected
    for step in steps:
        names = [child.span.name for child in step.children]
        assert names.count("data_loading") == 1 and names.count("model_backward") == 1
        assert not step.span.error


def test_manual_optimization(lightning: Any) -> None:
    """With several optimizers every zero_grad, backward and step is a span, in the order of the user's code."""

    class Gan(module_class(lightning)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.other = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for layer, optimizer in zip((self.layer, self.other), self.optimizers()):
                time.sleep(0.001)
                loss = layer(batch).square().mean()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.layer, self.other)]

    with recorded() as found:
        trainer(lightning).fit(Gan(), loader(4))
    half = ["model_forward", "zero_grad", "model_backward", "optimizer_update"]
    for step in found.named("training_single_iteration"):
        names: list[str] = []
        for name in (child.span.name for child in step.children if child.span.name in half):
            # On a busy machine the user's code may pause anywhere, and what it does between our spans is the forward.
            paused = name == "model_forward" and names[-1:] in (["zero_grad"], ["model_backward"])
            if names[-1:] != [name] and not paused:
                names.append(name)
        assert names[:8] == half * 2
    assert found.counts()["optimizer_update"] == 4


def test_zero_grad_is_followed_only_where_it_is_called_by_hand(lightning: Any) -> None:
    """PyTorch's own method is in place during automatic trainings; manual ones before and after them are told whole."""
    seen = []

    class Looking(module_class(lightning)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append(torch.optim.Optimizer.zero_grad is original)
            return super().training_step(batch, batch_idx)

    class Manual(Looking):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            loss = super().training_step(batch, batch_idx)
            self.optimizers().zero_grad()
            self.manual_backward(loss)
            self.optimizers().step()

    original = torch.optim.Optimizer.zero_grad
    with recorded() as found:
        for model in (Manual(), Looking(), Manual()):
            trainer(lightning).fit(model, loader(4))
    assert seen == [False] * 2 + [True] * 2 + [False] * 2
    assert found.counts()["zero_grad"] == 6
    assert torch.optim.Optimizer.zero_grad is original


def test_lbfgs_runs_its_closure_often(lightning: Any) -> None:
    """An optimizer that evaluates the model several times has a forward and a backward for each time."""
    passes = []

    class Module(module_class(lightning)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            passes.append(batch_idx)
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), max_iter=4)

    with recorded() as found:
        trainer(lightning).fit(Module(), loader(4))
    assert found.counts()["model_forward"] == found.counts()["model_backward"] == len(passes) > 2


def test_skipped_rest_of_the_epoch(lightning: Any) -> None:
    """A batch that `on_train_batch_start` refuses is an iteration with the attribute `skipped`."""

    class Module(module_class(lightning)):  # type: ignore[misc]
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
            return -1 if batch_idx == 1 else None

    with recorded() as found:
        trainer(lightning, max_epochs=2).fit(Module(), loader(8))
    steps = found.named("training_single_iteration")
    assert [bool(step.span.attributes.get("skipped")) for step in steps] == [False, True] * 2
    assert [child.span.name for child in steps[1].children] == ["data_loading", "batch_transfer", "callbacks"]


def test_several_fits_and_trials(lightning: Any, tmp_path: Path) -> None:
    """Each fit has its loop; a tuner's trials are marked and count for nothing."""
    tuner = importlib.import_module("lightning.pytorch.tuner")

    class Module(module_class(lightning)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lr = 0.1

    with recorded() as found:
        fitter, model = trainer(lightning, default_root_dir=str(tmp_path)), Module()
        tuner.Tuner(fitter).lr_find(model, loader(40), num_training=5)
        fitter.fit(model, loader(4))
        trainer(lightning).fit(model, loader(4))
    loops = found.named("training_loop")
    assert [loop.span.attributes.get("trial", False) for loop in loops] == [True, False, False]
    tail = found.events("training_metrics_update")[-1].attributes
    assert tail["num_iterations"] == 4 and tail["num_train_samples"] == 8
    assert all(save.span.attributes.get("trial") for save in found.named("checkpoint_save_sync"))


def test_children_explain_an_iteration(lightning: Any) -> None:
    """The phases cover at least 95 % of every iteration of a tiny model."""
    with recorded() as found:
        trainer(lightning).fit(module_class(lightning)(), loader(100))
    for step in found.named("training_single_iteration"):
        assert sum(child.span.duration_ns for child in step.children) >= 0.95 * step.span.duration_ns
        assert all(child.span.name in PHASES for child in step.children)


def test_a_slow_loader_is_blamed(lightning: Any) -> None:
    """A loader that takes 20 ms a batch is charged with what it took, within 5 %."""
    waited: list[int] = []

    class Slow(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> Any:
            begin = time.perf_counter_ns()
            time.sleep(0.02)
            waited.append(time.perf_counter_ns() - begin)
            return torch.randn(4)

    with recorded() as found:
        trainer(lightning).fit(module_class(lightning)(), DataLoader(Slow(), batch_size=1))
    charged = sum(
        child.span.duration_ns
        for step in found.named("training_single_iteration")
        for child in step.children
        if child.span.name == "data_loading"
    )
    assert sum(waited) <= charged <= 1.05 * sum(waited) + 20_000_000  # one scheduler's slice for a busy machine


@pytest.mark.parametrize("late", [False, True])
def test_a_slow_callback_is_told_apart(lightning: Any, late: bool) -> None:
    """A callback that takes long inside a phase is a span within that phase, whatever it looks like and whenever it
    came.
    """

    class Slow(lightning.Callback):  # type: ignore[misc]
        @functools.wraps(lightning.Callback.on_before_optimizer_step)
        def on_before_optimizer_step(self, *_: Any) -> None:
            time.sleep(0.01)

    class Adding(lightning.Callback):  # type: ignore[misc]
        def on_train_start(self, trainer: Any, module: Any) -> None:
            trainer.callbacks.append(Slow())

    with recorded() as found:
        trainer(lightning).fit(module_class(lightning)(), loader(4))
        trainer(lightning, callbacks=[Adding() if late else Slow()]).fit(module_class(lightning)(), loader(4))
    names = {node.span.id: node.span.name for node in found.process}
    hooks = [
        node for node in found.named("callbacks") if node.span.attributes.get("hook") == "on_before_optimizer_step"
    ]
    assert [names[node.span.parent] for node in hooks] == ["optimizer_update"] * 2
    assert all(node.span.duration_ns >= 10_000_000 for node in hooks)


def test_events_of_the_training(lightning: Any) -> None:
    """Figures are told for every full window and for the tail, with true batch sizes and the loss."""
    with recorded() as found:
        telemetry.configure(seq_length=16, flops_per_sample=1000, peak_flops=10**12)
        trainer(lightning).fit(module_class(lightning)(), loader(19, 2))
    events = [event.attributes for event in found.events("training_metrics_update")]
    assert [event["num_iterations"] for event in events] == [4, 8, 10]
    assert [event["window_iterations"] for event in events] == [4, 4, 2]
    assert [event.get("tail", False) for event in events] == [False, False, True]
    last = events[-1]
    assert last["num_train_samples"] == 19 and last["train_tokens"] == 19 * 16 and last["total_flops"] == 19_000
    assert last["current_iteration"] == 9 and last["interval"] == 4
    assert isinstance(last["latest_loss"], float) and 0 < last["goodput"] <= 1 and 0 < last["mfu"] < 1
    for key in ("avg_forward_time_sec", "avg_backward_time_sec", "avg_dataloader_time_sec", "samples_per_second"):
        assert last[key] > 0
    assert last["avg_batch_size"] == 1.9 and last["window_avg_batch_size"] == 1.5
    loop = found.one("training_loop").span.attributes
    assert loop["train_iterations_start"] == 0 and loop["train_iterations_target"] == 10


class Words(torch.utils.data.Dataset[Any]):
    """Sequences of token ids; those of a batch are equally long, those of two batches are not."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        ids = torch.zeros(3 if index < 4 else 5, dtype=torch.float32 if self.kind == "numbers" else torch.int64)
        if self.kind == "encoding":  # as tokenizers give it: a mapping, and no dict
            return UserDict(input_ids=ids)
        return {"input_ids": ids, "labels": ids} if self.kind == "mapping" else (ids, torch.tensor(index))


@pytest.mark.parametrize(
    ("kind", "told", "tokens"),
    [
        ("mapping", None, 4 * 3 + 6 * 5),
        ("tuple", None, 42),
        ("tuple", 7, 70),
        ("tuple", 0, None),
        ("numbers", None, None),
    ],
)
def test_tokens(lightning: Any, kind: str, told: int | None, tokens: int | None) -> None:
    """Tokens are counted batch by batch where batches hold token ids; a length that is told wins, 0 means none."""

    class Module(module_class(lightning)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            ids = batch[0] if isinstance(batch, (list, tuple)) else batch["input_ids"]
            return self.layer(torch.ones(len(ids), 4)).square().mean()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            return None

    with recorded() as found:
        telemetry.configure(seq_length=told)
        data = DataLoader(Words(kind), batch_size=2)
        trainer(lightning, num_sanity_val_steps=1).fit(Module(), data, data)
    first, last = (event.attributes for event in found.events("training_metrics_update"))
    assert last.get("train_tokens") == tokens and first["num_iterations"] == 4 and last["num_train_samples"] == 10
    if tokens:
        assert last["avg_seq_length"] == tokens / 10 and last["window_train_tokens"] == tokens - first["train_tokens"]
        assert last["avg_tokens_per_second"] == pytest.approx(last["samples_per_second"] * tokens / 10)
    else:
        assert "avg_tokens_per_second" not in last


def test_measured_operations(lightning: Any) -> None:
    """Operations are counted once if asked for, per sample, and the trained weights are the same."""
    weights = []
    for asked in (True, False):
        torch.manual_seed(3)
        data, model = loader(8), module_class(lightning)()
        with recorded() as found:
            telemetry.configure(measure_flops=asked)
            trainer(lightning).fit(model, data)
        weights.append(model.layer.weight.tolist())
        last = found.events("training_metrics_update")[-1].attributes
        # Two operations for each of four weights, forward and for the gradient of the weights.
        assert last.get("total_flops") == (8 * 2 * 2 * 4 if asked else None)
    assert weights[0] == weights[1]


def test_checkpoint_events(lightning: Any, tmp_path: Path) -> None:
    """A save tells its success with the file's size, and what saves have cost so far."""
    with recorded() as found:
        fitter, model = trainer(lightning), module_class(lightning)()
        fitter.fit(model, loader(4))
        for name in ("a.ckpt", "b.ckpt"):
            fitter.save_checkpoint(tmp_path / name)
    (first, second), saves = found.events("save_checkpoint_success"), found.named("checkpoint_save_sync")
    assert [first.span, second.span] == [save.span.id for save in saves]
    assert second.attributes["save_checkpoint_success_count"] == 2
    assert second.attributes["checkpoint_size"] == (tmp_path / "b.ckpt").stat().st_size
    assert second.attributes["productive_train_iterations"] == 2 and second.attributes["productive_train_samples"] == 4
    assert saves[1].span.attributes["save_checkpoint_attempt_count"] == 2
    assert found.events("sync_checkpoint_metrics_update")[-1].attributes["save_checkpoint_success_rate"] == 1.0


def test_asynchronous_checkpoint(pl: Any, tmp_path: Path) -> None:
    """With AsyncCheckpointIO the finalization ends, and success is told, when the file is there."""
    plugins: Any = importlib.import_module(f"{pl.__name__}.plugins.io")
    there: list[bool] = []

    class Slow(plugins.TorchCheckpointIO):  # type: ignore[misc]
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            there.append(os.path.exists(path))
            time.sleep(0.2)
            super().save_checkpoint(checkpoint, path, storage_options)

    path = tmp_path / "late.ckpt"
    with recorded() as found:
        fitter = trainer(pl, plugins=[plugins.AsyncCheckpointIO(Slow())])
        fitter.fit(module_class(pl)(), loader(4))
        fitter.save_checkpoint(path)
        fitter.strategy.checkpoint_io.teardown()
    save, final = found.one("checkpoint_save_async"), found.one("checkpoint_save_finalization")
    assert there == [False] and path.exists()
    assert save.span.duration_ns < 200_000_000 <= final.span.duration_ns
    assert final.span.parent == save.span.id and final.span.thread != save.span.thread
    (success,) = found.events("save_checkpoint_success")
    assert success.span == final.span.id and success.attributes["checkpoint_strategy"] == "async"
    assert success.attributes["checkpoint_size"] == path.stat().st_size


@pytest.mark.parametrize("kind", ["wrapped", "unknown"])
def test_a_checkpoint_in_the_background_succeeds_once_when_the_file_is_there(
    lightning: Any, tmp_path: Path, kind: str
) -> None:
    """An AsyncCheckpointIO inside another plugin, and a plugin with a thread of its own: the truth is the file."""
    plugins: Any = importlib.import_module("lightning.pytorch.plugins.io")
    wrapper: Any = importlib.import_module("lightning.pytorch.plugins.io.wrapper")
    path, may_write, threads = tmp_path / "late.ckpt", threading.Event(), list[threading.Thread]()

    class Late(plugins.TorchCheckpointIO):  # type: ignore[misc]
        def save_checkpoint(self, *arguments: Any, **named: Any) -> None:
            may_write.wait(20)
            super().save_checkpoint(*arguments, **named)

    class Outer(wrapper._WrappingCheckpointIO):  # type: ignore[misc]
        pass

    class Threaded(plugins.TorchCheckpointIO):  # type: ignore[misc]
        def save_checkpoint(self, *arguments: Any, **named: Any) -> None:
            threads.append(threading.Thread(target=Late().save_checkpoint, args=arguments, kwargs=named))
            threads[-1].start()

    plugin = Outer(plugins.AsyncCheckpointIO(Late())) if kind == "wrapped" else Threaded()
    with recorded() as found:
        fitter = trainer(lightning, plugins=[plugin])
        fitter.fit(module_class(lightning)(), loader(4))
        fitter.save_checkpoint(path)
        with telemetry.span("before_the_file"):
            pass
        may_write.set()
        plugin.checkpoint_io.teardown() if kind == "wrapped" else threads[0].join()
        fitter.validate(module_class(lightning)(), loader(4), verbose=False)
    (success,), before = found.events("save_checkpoint_success"), found.one("before_the_file").span
    assert success.time * 1000 > before.start_ns
    assert success.attributes["checkpoint_size"] == path.stat().st_size
    assert success.attributes["save_checkpoint_success_count"] == 1
    assert success.attributes["checkpoint_strategy"] == ("async" if kind == "wrapped" else "sync")


def test_asynchronous_checkpoint_that_fails(lightning: Any, tmp_path: Path) -> None:
    """A save that fails in the background is recorded as failed, and Lightning raises what it would have raised."""
    plugins: Any = importlib.import_module("lightning.pytorch.plugins.io")
    full = OSError("no space left on device")

    class Full(plugins.TorchCheckpointIO):  # type: ignore[misc]
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            time.sleep(0.2)
            raise full

    with recorded() as found:
        fitter = trainer(lightning, plugins=[plugins.AsyncCheckpointIO(Full())])
        fitter.fit(module_class(lightning)(), loader(4))
        fitter.save_checkpoint(tmp_path / "never.ckpt")
        with pytest.raises(OSError, match="no space") as caught:
            fitter.strategy.checkpoint_io.teardown()
    assert caught.value is full
    assert found.one("checkpoint_save_finalization").span.error == "OSError: no space left on device"
    assert found.events("save_checkpoint_success") == []


def test_resuming_and_loading(pl: Any, tmp_path: Path) -> None:
    """Checkpoints that are loaded by `ckpt_path` and by `load_from_checkpoint` are found without a call."""
    kind, path = module_class(pl), tmp_path / "half.ckpt"
    with recorded() as found:
        first = trainer(pl)
        first.fit(kind(), loader(4))
        first.save_checkpoint(path)
        kind.load_from_checkpoint(path)
        trainer(pl, max_epochs=2).fit(kind(), loader(4), ckpt_path=str(path))
    loads = found.named("checkpoint_load")
    assert [load.span.attributes["path"] for load in loads] == [str(path)] * 2
    assert [child.span.name for child in loads[0].children] == ["model_initialization"]
    starts = [loop.span.attributes["train_iterations_start"] for loop in found.named("training_loop")]
    assert starts == [0, 2]


class Broken(Exception):
    """What the user's code raises."""


def failing(pl: Any, where: str, error: BaseException) -> tuple[Any, list[Any]]:
    class Module(module_class(pl)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if where == "step" and batch_idx == 1:
                raise error
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if where == "validation":
                raise error

    class Callback(pl.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if where == "callback" and batch_idx == 1:
                raise error

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            if where == "epoch end":
                raise error

    return Module(), [Callback()]


WHERE = {
    "step": ["training_single_iteration", "training_loop"],
    "callback": ["training_single_iteration", "training_loop"],
    "validation": ["validation_single_iteration", "validation_loop", "training_loop"],
    "epoch end": ["callbacks", "training_loop"],
}


@pytest.mark.parametrize("where", WHERE)
def test_exceptions(lightning: Any, where: str) -> None:
    """An exception closes every span that it passes with its type and message, and is the same object outside."""
    error = torch.OutOfMemoryError("CUDA out of memory") if where == "step" else Broken("no")
    with recorded() as found:
        model, callbacks = failing(lightning, where, error)
        with pytest.raises(type(error)) as caught:
            trainer(lightning, callbacks=callbacks).fit(model, loader(8), loader(4))
        with tracelet.span("afterwards"):
            pass
    assert caught.value is error
    failed = {node.span.name: node.span.error for node in found.process if node.span.error}
    assert sorted(failed) == sorted(WHERE[where])
    assert set(failed.values()) == {f"{type(error).__name__}: {error}"}
    assert all(node.span.duration_ns >= 0 for node in found.process)
    assert found.one("afterwards").span.parent == found.one("application").span.id


def test_a_checkpoint_that_cannot_be_written(lightning: Any, tmp_path: Path) -> None:
    """A save that fails is closed with its error; the next one is recorded as usual."""
    (tmp_path / "file").write_text("not a folder")
    with recorded() as found:
        fitter = trainer(lightning)
        fitter.fit(module_class(lightning)(), loader(4))
        with pytest.raises(OSError):
            fitter.save_checkpoint(tmp_path / "file" / "a.ckpt")
        fitter.save_checkpoint(tmp_path / "b.ckpt")
    first, second = found.named("checkpoint_save_sync")
    assert first.span.error and not second.span.error
    (success,) = found.events("save_checkpoint_success")
    assert success.span == second.span.id
    rates = [
        event.attributes["save_checkpoint_success_rate"] for event in found.events("sync_checkpoint_metrics_update")
    ]
    assert rates == [0.0, 0.5]


def test_sigterm(lightning: Any) -> None:
    """SIGTERM closes the training's spans with Lightning's own exception."""

    class Module(module_class(lightning)):  # type: ignore[misc]
        def on_train_batch_end(self, *_: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with recorded() as found, pytest.raises(SystemExit):
        trainer(lightning).fit(Module(), loader(8))
    assert found.one("training_loop").span.error.startswith("SIGTERMException")
    assert all(node.span.duration_ns >= 0 for node in found.process)


def test_keyboard_interrupt(lightning: Any) -> None:
    """Ctrl-C closes the iteration and the loop with KeyboardInterrupt."""
    model, _ = failing(lightning, "step", KeyboardInterrupt())
    handler = signal.getsignal(signal.SIGINT)
    try:
        with recorded() as found, pytest.raises(SystemExit):
            trainer(lightning).fit(model, loader(8))
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores further ones
    assert found.one("training_loop").span.error == "KeyboardInterrupt"
    assert [bool(step.span.error) for step in found.named("training_single_iteration")] == [False, True]


def test_explicit_spans_win(lightning: Any) -> None:
    """What the program opens by hand is not found a second time, and its own spans hang where they are opened."""

    class Module(module_class(lightning)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            with tracelet.span("augment"), telemetry.model_forward():
                return super().training_step(batch, batch_idx)

        def configure_optimizers(self) -> Any:
            telemetry.on_optimizer_init_start()
            found = super().configure_optimizers()
            telemetry.on_optimizer_init_end()
            return found

    with recorded() as found:
        with telemetry.model_init():
            model = Module()
        with telemetry.data_loader_init():
            data = loader(4)
        trainer(lightning).fit(model, data)
    counts = found.counts()
    for name in ("model_initialization", "data_loader_initialization", "optimizer_initialization", "application"):
        assert counts[name] == 1, name
    assert counts["model_forward"] == counts["training_single_iteration"] == counts["augment"] == 2
    steps = [step.span.id for step in found.named("training_single_iteration")]
    assert [span.span.parent for span in found.named("augment")] == steps


def test_switched_off(lightning: Any) -> None:
    """Without track_spans nothing is recorded, and every point of Lightning stays as it is."""
    from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

    before = vars(_TrainingEpochLoop)["advance"]
    with tracelet.start_logging("off", config={**SETTINGS, "track_spans": False}) as experiment:
        assert vars(_TrainingEpochLoop)["advance"] is before
        trainer(lightning).fit(module_class(lightning)(), loader(4))
    assert len(tracelet.open_store().run(experiment.id).spans()) == 0


def test_model_constructor_is_seen_whole(lightning: Any) -> None:
    """The model's span lasts until the outermost constructor returns, modules inside modules included."""

    class Inner(module_class(lightning)):  # type: ignore[misc]
        pass

    class Outer(module_class(lightning)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()
            time.sleep(0.05)

    class Keeping(Inner):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters()
            time.sleep(0.05)

    with recorded() as found:
        Outer()
        kept = Keeping(3)
        with tracelet.span("afterwards"):
            time.sleep(0.1)
    assert dict(kept.hparams) == {"width": 3}
    outer, keeping = found.named("model_initialization")
    for model, name in ((outer, "Outer"), (keeping, "Keeping")):
        assert 50_000_000 <= model.span.duration_ns < 150_000_000 and not model.span.error
        assert model.span.attributes["class"].endswith(name)
    assert found.one("afterwards").span.parent == found.one("application").span.id


def test_a_model_constructor_that_raises(lightning: Any) -> None:
    """Its span ends as failed, also where the exception is caught or kept, and is no parent of what follows."""

    class Failing(module_class(lightning)):  # type: ignore[misc]
        def __init__(self, text: str) -> None:
            super().__init__()
            raise Broken(text)

    with pytest.raises(Broken) as passed, recorded():  # noqa: PT012  # what follows a caught one is the point
        with contextlib.suppress(Broken):
            Failing("caught")
        with pytest.raises(Broken) as kept:
            Failing("kept")
        with tracelet.span("afterwards"):
            module_class(lightning)()
        assert str(kept.value) == "kept"
        Failing("passed on")
    assert str(passed.value) == "passed on"
    run = tracelet.open_store().run("latest")
    (process,) = processes(run)
    nodes = {node.span.id: node.span for node in process}
    models = [span for span in nodes.values() if span.name == "model_initialization"]
    caught = "NotConstructed: the constructor raised an exception"
    assert [span.error for span in models] == [caught, "Broken: kept", "", "Broken: passed on"]
    assert nodes[models[2].parent].name == "afterwards"
    assert all(nodes[span.parent].name == "application" for span in (models[0], models[1], models[3]))
    assert "raise Broken" in models[3].attributes["exception_traceback"]


def test_open_spans_are_on_disk_while_they_last() -> None:
    """A span that goes on for longer than a flush is visible to readers before it ends."""
    with tracelet.start_logging("open", config=SETTINGS) as experiment, tracelet.span("long"):
        experiment.log_metric("x", 1.0)
        deadline = time.monotonic() + 10
        names: dict[str, int] = {}
        while "long" not in names and time.monotonic() < deadline:
            time.sleep(0.05)
            names = {span.name: span.duration_ns for span in tracelet.open_store().run(experiment.id).spans()}
    assert names["long"] == -1
    spans: list[Span] = list(tracelet.open_store().run(experiment.id).spans())
    assert all(span.duration_ns >= 0 for span in spans)


def test_a_save_in_a_callback_counts_its_iteration(lightning: Any, tmp_path: Path) -> None:
    """A checkpoint that is saved at the end of a batch contains that batch; its save and slow callbacks are no part of
    the iteration's time, and no attribute takes them for training.
    """

    class Slow(lightning.callbacks.Callback):  # type: ignore[misc]  # the flavour is chosen at run time
        def on_train_batch_end(self, *_: Any) -> None:
            time.sleep(0.05)

    with recorded() as found:
        saving = lightning.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)
        fitter = trainer(lightning, enable_checkpointing=True, callbacks=[Slow(), saving])
        fitter.fit(module_class(lightning)(), loader(4))
    saves = [event.attributes for event in found.events("save_checkpoint_success")][:2]
    counted = [(save["current_iteration"], save["productive_train_iterations"]) for save in saves]
    assert counted == [(step, step) for step, _ in counted] and counted
    assert all(save["productive_train_samples"] == 2 * save["productive_train_iterations"] for save in saves)
    update = found.events("training_metrics_update")[-1].attributes
    assert update["min_iteration_time_sec"] < 0.05
