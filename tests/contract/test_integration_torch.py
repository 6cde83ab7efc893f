"""Plain PyTorch loops are recorded as they are, and train, bit for bit, as they do without tracelet."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tracelet
from tracelet import telemetry
from tracelet.store.run import Run

SETTINGS = {"track_git": False, "track_env": False, "track_system": False, "delivery": "off", "quiet": True}
PLACES: dict[str, tuple[Any, str]] = {
    "backward": (torch.autograd, "_engine_run_backward"), "zero_grad": (torch.optim.Optimizer, "zero_grad"),
    "optimizer": (torch.optim.Optimizer, "__init__"), "eval": (nn.Module, "eval"), "save": (torch, "save"),
    "serialization": (torch.serialization, "save"), "norm": (torch.nn.utils.clip_grad, "_get_total_norm"),
    "next": (torch.utils.data.dataloader._SingleProcessDataLoaderIter, "_next_data"),
    "scheduler": (torch.optim.lr_scheduler.LRScheduler, "_initial_step"), "load": (torch.serialization, "_load"),
}  # fmt: skip


def standing() -> dict[str, Any]:
    """What stands in each place that is patched, and the hooks of optimizers."""
    module = sys.modules["torch.optim.optimizer"]  # the package takes it out of its own names
    hooks = [vars(module)[f"_global_optimizer_{when}_hooks"] for when in ("pre", "post")]
    return {name: vars(owner)[attribute] for name, (owner, attribute) in PLACES.items()} | {
        "hooks": [len(found) for found in hooks]
    }


def iter_nothing() -> Iterator[torch.Tensor]:
    """A generator without parameters, of which PyTorch warns."""
    yield from ()


def loader(rows: int = 32, batch: int = 8) -> DataLoader[Any]:
    inputs = torch.randn(rows, 4)
    return DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch, shuffle=True)


def train(epochs: int = 2, validate: bool = True) -> dict[str, Any]:
    """A usual loop: scheduler, clipping, validation, a checkpoint. What it has computed."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
    batches, rates, norms, loss = loader(), [], [], torch.zeros(())
    for _ in range(epochs):
        net.train()
        for inputs, targets in batches:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(net(inputs), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            norms.append(float(nn.utils.clip_grad_norm_(net.parameters(), 1.0)))
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        if validate:
            net.eval()
            with torch.no_grad():
                for inputs, _ in batches:
                    net(inputs)
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, "last.pt")
    weights = [parameter.detach().clone() for parameter in net.parameters()]
    return {"rates": rates, "norms": norms, "weights": weights, "random": torch.get_rng_state(), "loss": loss.item()}


def recorded(example: Callable[[], Any], **settings: Any) -> tuple[Any, Run]:
    """What the example returns, and the run that was recorded meanwhile."""
    with tracelet.start_logging("plain", config={**SETTINGS, **settings}) as experiment:
        result = example()
    return result, tracelet.open_store().run(experiment.id)


def spans(run: Run) -> Counter[str]:
    return Counter(span.name for span in run.spans())


def test_exact() -> None:
    """Learning rates and gradient norms are the program's, at every step; iterations and phases are all there."""
    result, run = recorded(train)
    assert run.series("lr-AdamW").values.tolist() == result["rates"]
    assert run.series("lr-AdamW").steps.tolist() == list(range(8))
    assert run.series("tracelet/grad_norm").values.tolist() == result["norms"]
    found = spans(run)
    assert found["training_loop"] == 1
    assert found["training_single_iteration"] == found["model_backward"] == found["optimizer_update"] == 8
    assert found["validation_loop"] == 2
    assert found["validation_single_iteration"] == 8
    assert found["data_loading"] == 16
    assert run.params["model/class"] == "torch.nn.modules.container.Sequential"
    assert run.params["model/parameters"] == 49
    assert run.params["optimizer/0/class"] == "torch.optim.adamw.AdamW"
    assert run.params["scheduler/0/step_size"] == 3
    (artifact,) = run.artifacts
    assert (artifact.name, artifact.kind, artifact.size) == ("last.pt", "checkpoint", Path("last.pt").stat().st_size)
    assert artifact.metadata == {"step": 8}


def test_harmless() -> None:
    """Weights, random numbers and warnings are what they are without tracelet, and PyTorch is put back."""
    before = standing()
    with warnings.catch_warnings(record=True) as without:
        warnings.simplefilter("always")
        plain = train()
        nn.utils.clip_grad_norm_(nn.Linear(1, 1).parameters(), 1.0)
        nn.utils.clip_grad_norm_(iter_nothing(), 1.0)

    def example() -> Any:
        now = standing()
        assert [name for name in before if now[name] is before[name]] == []
        result = train()
        nn.utils.clip_grad_norm_(nn.Linear(1, 1).parameters(), 1.0)
        nn.utils.clip_grad_norm_(iter_nothing(), 1.0)
        return result

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result, _ = recorded(example)
    assert standing() == before
    assert all(torch.equal(one, other) for one, other in zip(result["weights"], plain["weights"], strict=True))
    assert torch.equal(result["random"], plain["random"])
    assert (result["rates"], result["norms"], result["loss"]) == (plain["rates"], plain["norms"], plain["loss"])
    assert [(str(w.message), w.filename) for w in caught] == [(str(w.message), w.filename) for w in without]
    assert len(without) == 1


def test_throughput() -> None:
    """Iterations are counted and summed up as under Lightning, with the size of the batches."""
    _, run = recorded(train, telemetry_interval=4)
    updates = run.events("training_metrics_update")
    assert [event.attributes["num_iterations"] for event in updates] == [4, 8]
    assert updates[-1].attributes["avg_batch_size"] == 8
    assert run.events("validation_metrics_update")


def test_several_optimizers_without_a_loader() -> None:
    """In a loop without a loader, an iteration is a round of all its optimizers; each has its learning rate."""

    def example() -> None:
        nets = [nn.Linear(2, 2) for _ in range(2)]
        optimizers = [torch.optim.Adam(net.parameters(), lr=0.1 * place) for place, net in enumerate(nets, 1)]
        for _ in range(5):
            for net, optimizer in zip(nets, optimizers, strict=True):
                optimizer.zero_grad()
                net(torch.ones(1, 2)).sum().backward()
                optimizer.step()

    _, run = recorded(example)
    assert spans(run)["training_single_iteration"] == 5
    assert spans(run)["optimizer_update"] == 10
    assert run.series("lr-Adam").values.tolist() == [0.1] * 5
    assert run.series("lr-Adam-1").values.tolist() == [0.2] * 5
    assert run.params["model/1/parameters"] == 6


def test_accumulation() -> None:
    """Several backward passes for one step: every batch is an iteration, every step a point."""

    def example() -> None:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for place, (inputs, targets) in enumerate(loader()):
            nn.functional.mse_loss(net(inputs), targets).backward()  # type: ignore[no-untyped-call]
            if place % 2:
                optimizer.step()
                optimizer.zero_grad()

    _, run = recorded(example)
    assert spans(run)["training_single_iteration"] == spans(run)["model_backward"] == 4
    assert len(run.series("lr-SGD")) == spans(run)["optimizer_update"] == 2


def test_a_closure() -> None:
    """An optimizer that evaluates its closure several times makes one step; the passes inside are phases of it."""

    def example() -> None:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=4)
        for inputs, targets in loader():

            def closure(inputs: Any = inputs, targets: Any = targets) -> Any:
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(net(inputs), targets)
                loss.backward()  # type: ignore[no-untyped-call]
                return loss

            optimizer.step(closure)  # type: ignore[no-untyped-call]

    _, run = recorded(example)
    found = spans(run)
    assert found["training_single_iteration"] == found["optimizer_update"] == len(run.series("lr-LBFGS"))
    assert found["training_single_iteration"] == 4
    assert found["model_backward"] > 4


def test_two_loaders_at_once() -> None:
    """Batches of two loaders that take turns belong to one iteration."""

    def example() -> None:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for (inputs, _), (others, _) in zip(loader(), loader()):
            (net(inputs) + net(others)).mean().backward()
            optimizer.step()

    _, run = recorded(example)
    assert spans(run)["training_single_iteration"] == 4
    assert spans(run)["data_loading"] == 8


def test_validation_inside_an_iteration_and_a_break() -> None:
    """An evaluation within the training loop is told apart, and one that is left early is over."""

    def example() -> None:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        evaluated = loader()
        for inputs, targets in loader():
            nn.functional.mse_loss(net(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                for place, (more, _) in enumerate(evaluated):
                    net(more)
                    if place == 2:
                        break

    _, run = recorded(example)
    assert spans(run)["training_single_iteration"] == 4
    assert spans(run)["validation_loop"] == 4
    assert spans(run)["validation_single_iteration"] == 8


def test_a_pass_that_is_neither() -> None:
    """Going over the data to compute their mean is no training and no evaluation."""
    _, run = recorded(lambda: [batch[0].mean() for batch in loader()])
    assert set(spans(run)) == {"application", "data_loader_initialization"}


def test_timed_by_hand() -> None:
    """A program that times its iterations itself is taken at its word: nothing is told twice."""

    def example() -> None:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        with telemetry.training_loop():
            for inputs, targets in loader():
                with telemetry.training_iteration():
                    nn.functional.mse_loss(net(inputs), targets).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()

    _, run = recorded(example)
    assert spans(run)["training_loop"] == 1
    assert spans(run)["training_single_iteration"] == 4
    assert spans(run)["model_backward"] == 0


def test_a_loop_by_hand_around_iterations_that_are_not() -> None:
    """Iterations that are found in a loop that the program times itself are in that loop, and there is no other."""

    def example() -> None:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        with telemetry.training_loop():
            for inputs, targets in loader():
                nn.functional.mse_loss(net(inputs), targets).backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    _, run = recorded(example)
    (outer,) = run.spans("training_loop")
    assert [span.parent for span in run.spans("training_single_iteration")] == [outer.id] * 4


def test_a_step_that_raises() -> None:
    """A program that catches the exception of a step, such as one for want of memory, has its later steps recorded."""

    def example() -> None:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for place, (inputs, targets) in enumerate(loader()):

            def closure(place: int = place, inputs: Any = inputs, targets: Any = targets) -> Any:
                loss = nn.functional.mse_loss(net(inputs), targets)
                loss.backward()  # type: ignore[no-untyped-call]
                if not place:
                    raise MemoryError
                return loss

            with contextlib.suppress(MemoryError):
                optimizer.step(closure)

    _, run = recorded(example)
    assert spans(run)["training_single_iteration"] == 4
    assert spans(run)["optimizer_update"] == 3


def test_mixed_precision() -> None:
    """With a gradient scaler a step that is left out is no step; the scale is a series."""

    def example() -> None:
        net = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for factor in (1.0, float("inf"), 1.0):
            scaler.scale(net(torch.ones(1, 2)).sum() * factor).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

    _, run = recorded(example)
    assert len(run.series("lr-SGD")) == len(run.series("tracelet/grad_norm")) == 2
    assert run.series("tracelet/loss_scale").values.tolist() == [4.0, 2.0, 2.0]


@pytest.mark.parametrize("on", [True, False])
def test_the_loss_of_backward(on: bool) -> None:
    """The value that backward() is called on is recorded only where that is switched on."""
    result, run = recorded(train, track_backward_loss=on)
    if on:
        assert run.series("backward/loss").values.tolist()[-1] == result["loss"]
    else:
        assert "backward/loss" not in run.metrics()


def test_gradient_norms_on_request() -> None:
    """`track_gradients` computes the norm where the program clips nothing."""

    def example() -> Any:
        net = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        return 3.0**0.5

    result, run = recorded(example, track_gradients=True)
    assert run.series("tracelet/grad_norm").values.tolist() == pytest.approx([result])


def test_switched_off() -> None:
    """With `track_torch` off nothing is patched; without `track_learning_rate` there are no learning rates."""
    before = standing()
    _, run = recorded(lambda: [standing() == before, train()][0], track_torch=False)
    assert run.metrics() == []
    _, run = recorded(train, track_learning_rate=False)
    assert run.metrics() == ["tracelet/grad_norm"]


def test_what_is_no_checkpoint() -> None:
    """Tensors and data sets that a program saves are no checkpoints; a checkpoint that it loads is a span."""

    def example() -> None:
        torch.save(torch.ones(3), "tensor.pt")
        torch.save({"inputs": torch.ones(3)}, "data.pt")
        torch.save(nn.Linear(1, 1).state_dict(), "net.pt")
        torch.load("net.pt")
        torch.load("tensor.pt")

    _, run = recorded(example)
    assert [artifact.name for artifact in run.artifacts] == ["net.pt"]
    (span,) = run.spans("checkpoint_load")
    assert span.attributes["path"] == "net.pt"


@pytest.mark.filterwarnings("ignore")  # torch's compiler uses what torch deprecates
def test_a_compiled_model() -> None:
    """`torch.compile` finds no more graph breaks, and computes the same."""
    from torch._dynamo.utils import counters

    def example() -> tuple[int, Any]:
        torch.manual_seed(0)
        torch._dynamo.reset()
        counters.clear()
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

        def step(inputs: Any, targets: Any) -> Any:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(net(inputs), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return loss

        compiled = torch.compile(step, backend="eager")
        inputs = torch.ones(8, 4)
        losses = [compiled(inputs, inputs.sum(1, keepdim=True)).item() for _ in range(3)]
        return sum(counters["graph_break"].values()), losses

    plain = example()
    result, _ = recorded(example)
    assert result == plain
