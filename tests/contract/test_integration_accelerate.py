"""What a program gives to an Accelerator is recorded once, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

import tracelet
from tests.programs import logged, recorded_run, weights_of, with_and_without

PROGRAM = """
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
set_seed(0)
accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir="project", gradient_accumulation_steps=2)
accelerator.init_trackers("run", config={{"lr": 0.1, "batch": 8}})
net = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
data = torch.utils.data.TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,)))
net, optimizer, loader = accelerator.prepare(net, optimizer, torch.utils.data.DataLoader(data, 8))
losses = []
for step, (x, y) in enumerate(loader):
    with accelerator.accumulate(net):
        loss = torch.nn.functional.cross_entropy(net(x), y)
        accelerator.backward(loss)
        optimizer.step(); optimizer.zero_grad()
    losses.append(loss.item())
    accelerator.log({{"loss": loss.item(), "from_numpy": numpy.float32(0.5), "note": "text"}}, step=step)
accelerator.save_state("state")
accelerator.end_training()
told["losses"] = losses
told["weights"] = {weights}
"""


@pytest.mark.slow
def test_a_program_is_the_same_with_us_and_recorded_exactly(tmp_path: Path) -> None:
    """Also what accelerate's TensorBoard tracker drops, numpy's floats, has its series; each value has one point."""
    bare, recorded = with_and_without(PROGRAM.format(weights=weights_of("net")), tmp_path)
    assert recorded == bare
    run = recorded_run(tmp_path)
    assert set(logged(run)) == {"loss", "from_numpy"}
    assert run.series("loss").values.tolist() == recorded["losses"]
    assert run.series("loss").steps.tolist() == run.series("from_numpy").steps.tolist() == list(range(8))
    assert (run.params["lr"], run.params["batch"]) == (0.1, 8)
    assert run.params["accelerate/gradient_accumulation_steps"] == 2
    (state,) = run.artifacts
    assert (state.name, state.kind, state.metadata) == ("state", "checkpoint", {"step": 7})
    assert run.events("text")[0].attributes == {"tag": "note", "step": 0, "text": "text"}


@pytest.mark.filterwarnings("ignore")
def test_without_a_tracker_values_are_recorded_and_the_classes_are_left_as_they_were(tmp_path: Path) -> None:
    """accelerate itself drops what it is given without a tracker; a tracker that is called directly counts, too."""
    from accelerate import Accelerator
    from accelerate.tracking import TensorBoardTracker

    before = dict(vars(Accelerator)), dict(vars(TensorBoardTracker))
    config = {"dir": str(tmp_path / "store"), "quiet": True, "track_system": False}
    with tracelet.start_logging("bare", config=config):
        accelerator = Accelerator(cpu=True)
        accelerator.init_trackers("run", config={"lr": 1})
        accelerator.log({"loss": 0.25, "nested": {"a": 1}}, step=numpy.int64(3))
        tracker = TensorBoardTracker("direct", str(tmp_path / "tb"))
        tracker.start()
        tracker.log({"direct": 1.5}, step=4)
        tracker.finish()
    assert (dict(vars(Accelerator)), dict(vars(TensorBoardTracker))) == before
    run = tracelet.open_store(tmp_path / "store").run("bare")
    assert {name: run.series(name).steps.tolist() for name in run.metrics()} == {
        "loss": [3], "nested/a": [3], "direct": [4],
    }  # fmt: skip
    with tracelet.start_logging("off", config={**config, "track_accelerate": False}):
        Accelerator(cpu=True).log({"loss": 0.25})
    assert tracelet.open_store(tmp_path / "store").run("off").metrics() == []
