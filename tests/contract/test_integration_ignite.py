"""What ignite's engines compute is recorded at the trainer's iterations, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracelet
from tests.programs import logged, recorded_run, weights_of, with_and_without

PROGRAM = """
import torch
from torch import nn
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import ModelCheckpoint
from ignite.metrics import Accuracy, Loss, RunningAverage
torch.manual_seed(0)
net = nn.Linear(4, 2)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
def loader():
    data = torch.utils.data.TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,)))
    return torch.utils.data.DataLoader(data, 8)
train, val = loader(), loader()
trainer = create_supervised_trainer(net, optimizer, nn.CrossEntropyLoss())
evaluator = create_supervised_evaluator(net, {{"acc": Accuracy(), "nll": Loss(nn.CrossEntropyLoss())}})
RunningAverage(output_transform=lambda x: x).attach(trainer, "average")
own = {{"output": [], "average": [], "train": [], "val": []}}

@trainer.on(Events.ITERATION_COMPLETED)
def keep(engine):
    own["output"].append([engine.state.iteration, engine.state.output])
    own["average"].append([engine.state.iteration, engine.state.metrics["average"]])

@trainer.on(Events.EPOCH_COMPLETED)
def evaluate(engine):
    for name, data in (("train", train), ("val", val)):
        state = evaluator.run(data)
        own[name].append([engine.state.iteration, state.epoch, state.metrics["acc"]])

trainer.add_event_handler(Events.EPOCH_COMPLETED, ModelCheckpoint("saved", "m", n_saved=1), {{"m": net}})
trainer.run(train, 2)
told["own"] = own
told["handlers"] = [len(trainer._event_handlers[event]) for event in Events if event in trainer._event_handlers]
told["weights"] = {weights}
"""


@pytest.mark.slow
def test_a_program_is_the_same_with_us_and_recorded_exactly(tmp_path: Path) -> None:
    """An evaluator reports epoch 1 in every run; its values are at the trainer's iterations, a series for each set."""
    bare, recorded = with_and_without(PROGRAM.format(weights=weights_of("net")), tmp_path)
    assert recorded == bare
    run, own = recorded_run(tmp_path), recorded["own"]
    for name in ("output", "average"):
        assert list(zip(run.series(name).steps.tolist(), run.series(name).values.tolist())) == [
            tuple(pair) for pair in own[name]
        ]
    for name, data in (("evaluator/acc", "train"), ("evaluator-2/acc", "val")):
        assert [epoch for _, epoch, _ in own[data]] == [1, 1]
        series = run.series(name)
        assert list(zip(series.steps.tolist(), series.values.tolist())) == [(at, value) for at, _, value in own[data]]
        assert series.epochs.tolist() == [1, 2]
    assert set(logged(run)) == {"output", "average", *(f"evaluator{n}/{m}" for n in ("", "-2") for m in ("acc", "nll"))}
    assert run.params["ignite/max_epochs"] == 2
    assert [(file.name, file.metadata["step"]) for file in run.artifacts] == [("m_m_8.pt", 8), ("m_m_16.pt", 16)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ignite compiles with torch.jit.script
def test_an_engine_is_named_by_its_logger_and_left_as_it_was(tmp_path: Path) -> None:
    """As in ignite's examples: `evaluator.logger = setup_logger("Val")`. Integers computed again are new values."""
    import logging

    from ignite.engine import Engine
    from ignite.metrics import Metric

    before = dict(vars(Engine)), dict(vars(Metric))
    config = {"dir": str(tmp_path / "store"), "quiet": True, "track_system": False}

    class Count(Metric):
        def reset(self) -> None:
            self.count = 0

        def update(self, output: object) -> None:
            self.count += 1

        def compute(self) -> int:
            return self.count

    with tracelet.start_logging("named", config=config):
        trainer, evaluator = Engine(lambda *_: {"loss": 1.0}), Engine(lambda *_: None)
        evaluator.logger = logging.getLogger("Val")
        Count().attach(evaluator, "count")
        trainer.run([0, 1], max_epochs=1)
        for _ in range(2):
            evaluator.run([0, 1, 2])
    assert (dict(vars(Engine)), dict(vars(Metric))) == before
    run = tracelet.open_store(tmp_path / "store").run("named")
    assert run.series("loss").steps.tolist() == [1, 2]
    assert (run.series("Val/count").steps.tolist(), run.series("Val/count").values.tolist()) == ([2, 2], [3, 3])
    with tracelet.start_logging("off", config={**config, "track_ignite": False}):
        Engine(lambda *_: 1.0).run([0], max_epochs=1)
    assert tracelet.open_store(tmp_path / "store").run("off").metrics() == []
