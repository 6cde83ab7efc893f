"""What real programs do to Lightning, each of which broke a naive tracker."""

from __future__ import annotations

import copy
import gc
import importlib
import importlib.util
import inspect
import pickle
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from torch.utils.data import DataLoader

from tests.sinks import ListSink
from tracelet.integrations.base import SeriesKey
from tracelet.integrations.lightning import LightningIntegration
from tracelet.integrations.lightning.stop_requests import PropertyPatch

pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning says about tiny loaders is not our subject


class Kept(ListSink):
    """What a training emitted, with the names that the program logged."""

    def names(self) -> set[str]:
        keys = [p[0] for p in self if isinstance(p, tuple) and isinstance(p[0], SeriesKey)]
        return {key.name for key in keys if not key.automatic}


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request: pytest.FixtureRequest) -> Any:
    """One flavour of Lightning."""
    return importlib.import_module(request.param)


@pytest.fixture
def integration() -> Iterator[LightningIntegration]:
    """A started integration, its sink in `sink`."""
    started = LightningIntegration(Kept(), {})
    started.start()
    yield started
    started.stop()


@pytest.fixture
def kept(integration: LightningIntegration) -> Kept:
    """What the started integration records."""
    assert isinstance(integration.sink, Kept)
    return integration.sink


def module_class(pl: Any) -> Any:
    class Module(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch).square().mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module


def loader() -> DataLoader[Any]:
    return DataLoader(torch.randn(6, 4), batch_size=2)  # type: ignore[arg-type]


QUIET: dict[str, Any] = {
    "max_epochs": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "accelerator": "cpu", "devices": 1,
}  # fmt: skip


def test_signatures_of_everything_patched_are_kept(pl: Any) -> None:
    """`inspect.signature` and `getfullargspec` of every patched function are the same while patched."""
    integration = LightningIntegration(Kept(), {"track_gradients": True})

    def look() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for patch in integration.patches():
            if patch.module.startswith(("lightning.", "pytorch_lightning.", "lightning_fabric.")):
                if patch.optional and importlib.util.find_spec(patch.module) is None:
                    continue  # a logger that this Lightning does not have yet, or no more
                target: Any = importlib.import_module(patch.module)
                for step in patch.target.split("."):
                    target = getattr(target, step, None)
                if target is None or isinstance(target, property):
                    assert patch.optional or isinstance(patch, PropertyPatch)
                    continue
                found[f"{patch.module}.{patch.target}"] = (
                    inspect.signature(target), target.__doc__, target.__qualname__,
                    # Lightning hides its real signature from getfullargspec; ours is the real one.
                    patch.target == "Trainer.__init__"
                    or ".loggers." in patch.module
                    or str(inspect.getfullargspec(target)),
                )  # fmt: skip
        return found

    before = look()
    integration.start()
    during = look()
    integration.stop()
    assert len(before) > 30
    assert during == before


def test_a_program_may_build_its_arguments_from_the_trainers_signature(pl: Any, kept: Kept) -> None:
    """pytorch-tabular passes on what `inspect.signature(Trainer.__init__)` names."""
    wanted = {**QUIET, "unknown": 3}
    names = [name for name in inspect.signature(pl.Trainer.__init__).parameters if name not in ("self", "kwargs")]
    assert "max_epochs" in names
    trainer = pl.Trainer(**{name: wanted[name] for name in names if name in wanted})
    trainer.fit(module_class(pl)(), loader())
    assert [step for step, _ in kept.series("loss")] == [0, 1, 2]


def test_a_trainers_subclass_may_change_fit_and_construction(pl: Any, kept: Kept) -> None:
    """NeuroMANCER's trainer has its own `fit`, and sets attributes before the base class is initialised."""

    class Own(pl.Trainer):  # type: ignore[misc]
        def __init__(self, epochs: int) -> None:
            self.own_logger = None
            super().__init__(**{**QUIET, "max_epochs": epochs})

        def fit(self, problem: Any, data: Any) -> Any:
            return super().fit(problem, data)

    Own(2).fit(module_class(pl)(), loader())
    assert [step for step, _ in kept.series("loss")] == list(range(6))


def test_a_trainer_within_a_trainer_is_a_fit_of_its_own(pl: Any, kept: Kept) -> None:
    """gluonts and darts build Trainers of their own, some of them inside another's callback."""

    class Nesting(module_class(pl)):  # type: ignore[misc]
        def on_train_epoch_end(self) -> None:
            pl.Trainer(**QUIET).fit(module_class(pl)(), loader())

    pl.Trainer(**QUIET).fit(Nesting(), loader())
    fits = [p[0].fit for p in kept if isinstance(p, tuple) and isinstance(p[0], SeriesKey) and p[0].name == "loss"]
    assert fits == [1, 1, 1, 2, 2, 2]


def test_hooks_bound_on_the_instance_log(pl: Any, kept: Kept) -> None:
    """NeuroMANCER binds functions to the instance as hooks."""

    def hook(self: Any) -> None:
        self.log("bound", 4.0)

    module = module_class(pl)()
    module.on_train_epoch_end = hook.__get__(module)
    pl.Trainer(**QUIET).fit(module, loader())
    assert kept.series("bound") == [(2, 4.0)]


def test_compositional_metrics_and_collections(pl: Any, kept: Kept) -> None:
    """scvi logs a CompositionalMetric through `log_dict`; darts a computed MetricCollection in an epoch-end hook."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torchmetrics.SumMetric(), torchmetrics.SumMetric()
            self.sum = self.first + self.second
            self.collection = torchmetrics.MetricCollection([torchmetrics.MeanMetric()])

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.first.update(1.0)
            self.second.update(2.0)
            self.log_dict({"sum": self.sum}, on_step=False, on_epoch=True)
            self.collection.update(3.0)
            return self.layer(batch).mean()

        def on_train_epoch_end(self) -> None:
            self.log_dict(self.collection.compute())

    pl.Trainer(**QUIET).fit(Module(), loader())
    assert kept.series("sum") == [(2, 9.0)]
    assert kept.series("MeanMetric") == [(2, 3.0)]


def test_without_a_trainer_every_call_is_a_point(pl: Any, kept: Kept) -> None:
    """A module driven by hand logs what Lightning would drop, its steps counted per name by the writer."""
    module = module_class(pl)()
    for number in range(3):
        module.log("loss", torch.tensor(float(number), requires_grad=True))
        module.log_dict({"a": number, "b": True})
        module.log("unseen", 1.0, logger=False)
    assert kept.series("loss") == [(None, 0.0), (None, 1.0), (None, 2.0)]
    assert kept.series("a") == [(None, 0), (None, 1), (None, 2)]
    assert kept.names() == {"loss", "a", "b"}


def test_a_module_without_a_trainer_is_seen_again_after_each_fit(pl: Any, kept: Kept) -> None:
    """Before, between and after fits, one that raised and one inside another among them, its calls are points."""

    class Failing(module_class(pl)):  # type: ignore[misc]
        def on_train_epoch_end(self) -> None:
            pl.Trainer(**QUIET).fit(module_class(pl)(), loader())
            raise RuntimeError("theirs")

    by_hand = module_class(pl)()
    by_hand.log("by hand", 0.0)
    pl.Trainer(**QUIET).fit(module_class(pl)(), loader())
    by_hand.log("by hand", 1.0)
    with pytest.raises(RuntimeError, match="theirs"):
        pl.Trainer(**QUIET).fit(Failing(), loader())
    by_hand.log("by hand", 2.0)
    assert kept.series("by hand") == [(None, 0.0), (None, 1.0), (None, 2.0)]


@pytest.mark.parametrize("again", [False, True])
def test_stopping_inside_a_fit_leaves_the_module_class_as_found(pl: Any, again: bool) -> None:
    """Also where another run is started in the same fit, which then sees what comes after the fit."""
    before = dict(vars(pl.LightningModule))
    first, second = LightningIntegration(Kept(), {}), LightningIntegration(Kept(), {})

    class Stopping(module_class(pl)):  # type: ignore[misc]
        def on_train_batch_end(self, *_: Any) -> None:
            first.stop()
            if again:
                second.start()

    first.start()
    pl.Trainer(**QUIET).fit(Stopping(), loader())
    module_class(pl)().log("by hand", 1.0)
    second.stop()
    assert dict(vars(pl.LightningModule)) == before
    assert isinstance(second.sink, Kept)
    assert second.sink.series("by hand") == ([(None, 1.0)] if again else [])


def test_log_replaced_on_the_instance_is_seen(pl: Any, integration: LightningIntegration, kept: Kept) -> None:
    """Determined's adapter replaces `log` and `log_dict`: its functions get every call, and so do we, once."""
    module = module_class(pl)()
    got: list[tuple[str, Any]] = []

    def log(name: str, value: Any, **_: Any) -> str:
        got.append((name, value))
        return "theirs"

    def log_dict(dictionary: Any, **kwargs: Any) -> None:
        for name, value in dictionary.items():
            module.log(name, value, **kwargs)

    module.log, module.log_dict = log, log_dict
    tensor = torch.tensor([2.0])
    assert module.log("x", tensor, on_step=True) == "theirs"
    module.log_dict({"y": 1, "z": 2})
    assert [name for name, _ in got] == ["x", "y", "z"]
    assert got[0][1] is tensor
    assert [kept.series(name) for name in "xyz"] == [[(None, 2.0)], [(None, 1)], [(None, 2)]]
    assert inspect.signature(module.log) == inspect.signature(log)
    integration.stop()
    assert module.log is log
    assert module.log_dict is log_dict
    assert "__setattr__" not in vars(pl.LightningModule)


def adapter_log(name: str, value: Any) -> None:
    """A replacement that can be found by its name."""


def test_an_instance_with_a_replaced_log_copies_and_pickles_as_before(pl: Any, kept: Kept) -> None:
    """What stands in place of the replacement travels as the replacement itself."""
    module = pl.LightningModule()
    module.log = adapter_log
    assert copy.deepcopy(module).__dict__["log"] is adapter_log
    state = pickle.loads(pickle.dumps({"log": vars(module)["log"]}))
    assert state["log"] is adapter_log


@pytest.mark.parametrize("name", ["lightning.fabric", "lightning_fabric"])
def test_fabric_logs_with_and_without_steps(name: str, kept: Kept) -> None:
    """`log` and `log_dict` of either Fabric, with no loggers at all; tensors as numbers."""
    fabric = importlib.import_module(name).Fabric(accelerator="cpu", devices=1)
    fabric.log("loss", torch.tensor(2.5), step=3)
    fabric.log_dict({"loss": 1.5, "acc": torch.tensor(1)}, step=4)
    fabric.log("free", 9)
    assert kept.series("loss") == [(3, 2.5), (4, 1.5)]
    assert kept.series("acc") == [(4, 1)]
    assert kept.series("free") == [(None, 9)]


def test_a_module_driven_by_fabric_is_seen_once(kept: Kept) -> None:
    """`self.log` of a LightningModule under Fabric ends in Fabric, and is a point there only."""
    pl = importlib.import_module("lightning.pytorch")
    fabric = importlib.import_module("lightning.fabric").Fabric(accelerator="cpu", devices=1)
    module = module_class(pl)()
    fabric.setup(module, module.configure_optimizers())
    module.log("loss", torch.tensor(2.0))
    module.log_dict({"a": 1.0})
    assert kept.series("loss") == [(None, 2.0)]
    assert kept.series("a") == [(None, 1.0)]


def test_a_program_may_use_both_flavours(kept: Kept) -> None:
    """Their classes differ; both are recorded, and the fits are numbered together."""
    for name in ("lightning.pytorch", "pytorch_lightning"):
        pl = importlib.import_module(name)
        pl.Trainer(**QUIET).fit(module_class(pl)(), loader())
    fits = [p[0].fit for p in kept if isinstance(p, tuple) and isinstance(p[0], SeriesKey) and p[0].name == "loss"]
    assert fits == [1, 1, 1, 2, 2, 2]


def test_loggers_are_called_as_before(pl: Any, kept: Kept) -> None:
    """A logger of the user's gets `metrics=` and `step=` by keyword, and is asked for nothing else."""
    calls: list[tuple[Any, ...]] = []

    class Own(importlib.import_module(f"{pl.__name__}.loggers.logger").Logger):  # type: ignore[misc]
        name, version = "own", 0

        def log_metrics(self, *args: Any, **kwargs: Any) -> None:
            calls.append((args, sorted(kwargs), kwargs["step"]))

        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
            calls.append(("hyperparams", args, kwargs))

    class Module(module_class(pl)):  # type: ignore[misc]
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.save_hyperparameters()

    pl.Trainer(**{**QUIET, "logger": Own(), "log_every_n_steps": 2}).fit(Module(), loader())
    assert calls == [("hyperparams", ({"width": 3},), {}), ((), ["metrics", "step"], 1)]


def test_trainers_and_modules_are_not_kept_alive(pl: Any, kept: Kept, tmp_path: Path) -> None:
    """A program that trains a hundred models holds none of them because of us."""
    logger = importlib.import_module(f"{pl.__name__}.loggers").CSVLogger(tmp_path)
    module, trainer = module_class(pl)(), pl.Trainer(**{**QUIET, "logger": logger})
    trainer.fit(module, loader())
    alive = [weakref.ref(module), weakref.ref(trainer), weakref.ref(logger)]
    del module, trainer, logger
    gc.collect()
    assert [reference() for reference in alive] == [None, None, None]
    assert len(kept.series("loss")) == 3


def test_logger_classes_are_as_found_after_stop(pl: Any, tmp_path: Path) -> None:
    """The methods of every logger class that was met are put back, in the class that owns them."""
    logger = importlib.import_module(f"{pl.__name__}.loggers").CSVLogger(tmp_path)
    before = [list(vars(kind).items()) for kind in type(logger).__mro__]
    integration = LightningIntegration(Kept(), {})
    integration.start()
    pl.Trainer(**{**QUIET, "logger": logger})
    assert "__wrapped__" in vars(type(logger).log_hyperparams)
    assert [list(vars(kind).items()) for kind in type(logger).__mro__] != before
    integration.stop()
    assert [list(vars(kind).items()) for kind in type(logger).__mro__] == before


def test_a_value_that_lightning_refuses_is_refused_as_before(pl: Any, kept: Kept) -> None:
    """Lightning's own errors about what may be logged reach the user unchanged."""

    class Module(module_class(pl)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("vector", torch.ones(3))

    with pytest.raises(ValueError, match="single element"):
        pl.Trainer(**QUIET).fit(Module(), loader())
    with pytest.raises(ValueError, match="cannot be logged"):
        importlib.import_module("lightning.pytorch").LightningModule().log("text", "no number")
    assert kept.names() == set()


def test_a_compiled_training_step_is_compiled_as_before(pl: Any) -> None:
    """`torch.compile` makes the same frames and the same graph breaks of a module while it is patched."""
    import torch._dynamo.utils as dynamo

    class Module(module_class(pl)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch).square().mean()
            self.last = loss.detach()
            return loss

    def compiled() -> dict[str, Any]:
        torch._dynamo.reset()
        dynamo.counters.clear()
        pl.Trainer(**QUIET).fit(torch.compile(Module(), backend="eager"), loader())
        return {name: dict(dynamo.counters[name]) for name in ("frames", "graph_break", "stats")}

    compiled()  # the first compilation of a process has frames of its own
    before = compiled()
    integration = LightningIntegration(Kept(), {})
    integration.start()
    during = compiled()
    integration.stop()
    assert before["frames"]
    assert during == before
