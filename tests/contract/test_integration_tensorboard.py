"""What a program writes through a SummaryWriter is recorded as TensorBoard stores it, and nothing else changes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

import tracelet
from tests.programs import logged, recorded_run, weights_of, with_and_without
from tracelet.store.run import Run

WRITERS = ("torch.utils.tensorboard", "tensorboardX")

PROGRAM = """
import importlib, torch
SummaryWriter = importlib.import_module({module!r}).SummaryWriter
torch.manual_seed(1)
net = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(net.parameters(), 0.1)
writer = SummaryWriter("tb")
for step in range(20):
    loss = net(torch.randn(8, 4)).pow(2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    writer.add_scalar("train/loss", loss, step)
    writer.add_scalar("noise", torch.rand(()).item(), global_step=step, walltime=1700000000.25 + step)
writer.add_scalars("both", {{"a": 1.5, "b": 2.5}}, 7)
writer.add_histogram("weights", net.weight, 3)
writer.add_text("note", "hello", 2)
writer.add_hparams({{"lr": 0.1, "name": "x"}}, {{"hparam/loss": loss.item()}})
writer.close()
told["weights"] = {weights}
"""


def _stored(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """(step, wall time, value) of each scalar that TensorBoard's own reader finds, by tag; `add_scalars` by folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[tuple[int, float, float]]] = {}
    for place, _, names in os.walk(folder):
        if not any("tfevents" in name for name in names):
            continue
        events = EventAccumulator(place, size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            part = Path(place).name.removeprefix(f"{tag}_")  # PyTorch writes tb/TAG_NAME, tensorboardX tb/TAG/NAME
            several = part != Path(place).name or Path(place).parent.name == tag
            name = f"{tag}/{part}" if several else tag
            found.setdefault(name, []).extend((e.step, e.wall_time, e.value) for e in events.Scalars(tag))
    return found


def _compare(run: Run, folder: Path) -> None:
    stored = _stored(folder)
    assert stored
    assert set(logged(run)) == set(stored)
    for name, events in stored.items():
        series = run.series(name)
        assert series.steps.tolist() == [step for step, _, _ in events]
        numpy.testing.assert_array_equal(series.values.astype("float32"), [value for _, _, value in events])


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Path]:
    """A run around the test; the folder of its store."""
    tracelet.start_logging("written", config={"dir": str(tmp_path / "store"), "quiet": True, "track_system": False})
    yield tmp_path / "store"
    tracelet.stop_logging()


def _ended(store: Path) -> Run:
    tracelet.stop_logging()
    return tracelet.open_store(store).run("written")


@pytest.mark.slow
@pytest.mark.parametrize("module", WRITERS)
def test_a_program_with_a_writer_is_the_same_with_us_and_recorded_exactly(module: str, tmp_path: Path) -> None:
    """Weights, random numbers, files and warnings are as without tracelet; every scalar is as TensorBoard stores it."""
    bare, recorded = with_and_without(PROGRAM.format(module=module, weights=weights_of("net")), tmp_path)
    assert recorded == bare
    run = recorded_run(tmp_path)
    _compare(run, tmp_path / "recorded" / "tb")
    assert run.params["lr"] == 0.1
    assert run.params["name"] == "x"
    assert run.series("noise").times.tolist() == pytest.approx([1700000000.25 + step for step in range(20)])
    (text,) = run.events("text")
    assert text.attributes == {"tag": "note", "step": 2, "text": "hello"}
    assert any("histograms" in problem for problem in run.problems)


def test_steps_and_times_keep_64_bits(recording: Path, tmp_path: Path) -> None:
    """A step in nanoseconds and a wall time of long ago are recorded as they are."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "tb")) as writer:
        writer.add_scalar("loss", 1.0, 1_700_000_000_123_456_789, walltime=12.5)
        writer.add_scalar("loss", torch.tensor(0.1, dtype=torch.float64), numpy.int64(2**62))
    series = _ended(recording).series("loss")
    assert series.steps.tolist() == [1_700_000_000_123_456_789, 2**62]
    assert series.values.tolist() == [1.0, 0.1]
    assert series.times[0] == 12.5


def test_a_value_that_tensorboard_cannot_hold_is_recorded_as_given(recording: Path, tmp_path: Path) -> None:
    """PyTorch's writer turns bfloat16 into float16, where 70000 is infinite; here it is 70144, bfloat16's own value."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "tb")) as writer:
        writer.add_scalar("loss", torch.tensor(70000.0, dtype=torch.bfloat16), 0)
    assert _stored(tmp_path / "tb")["loss"][0][2] == float("inf")
    assert _ended(recording).series("loss").values.tolist() == [70144.0]


def test_two_writers_with_the_same_tags_are_two_series(recording: Path, tmp_path: Path) -> None:
    """A second folder's names are recorded under the folder's name, and the run says so."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "runs/train")) as train, SummaryWriter(str(tmp_path / "runs/val")) as val:
        for step in range(3):
            train.add_scalar("loss", 1.0, step)
            val.add_scalar("loss", 2.0, step)
    run = _ended(recording)
    assert run.series("loss").values.tolist() == [1.0] * 3
    assert run.series("val/loss").values.tolist() == [2.0] * 3
    assert any("several TensorBoard folders" in problem for problem in run.problems)


def test_hyperparameters_given_again_are_a_trial_of_their_own(recording: Path, tmp_path: Path) -> None:
    """`add_hparams` in a loop keeps each set of hyperparameters beside its metrics."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "tb")) as writer:
        for trial in range(2):
            writer.add_hparams({"lr": 0.1 * (trial + 1)}, {"accuracy": float(trial)}, global_step=5)
    run = _ended(recording)
    assert (run.params["lr"], run.params["hparams-2/lr"]) == (0.1, 0.2)
    assert run.series("hparams-2/accuracy").steps.tolist() == [5]


@pytest.mark.parametrize("module", WRITERS)
def test_the_end_of_a_run_leaves_the_writer_as_it_was(module: str, tmp_path: Path) -> None:
    """Every attribute of the class is the very object that it was, and an exception of the writer passes."""
    kind: Any = importlib.import_module(module).SummaryWriter
    before = dict(vars(kind))
    tracelet.start_logging("written", config={"dir": str(tmp_path / "store"), "quiet": True, "track_system": False})
    assert vars(kind)["add_scalar"] is not before["add_scalar"]
    with kind(str(tmp_path / "tb")) as writer, pytest.raises((NotImplementedError, AssertionError)):
        writer.add_scalar("loss", object(), 0)
    tracelet.stop_logging()
    after = dict(vars(kind))
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


def test_the_setting_switches_it_off(tmp_path: Path) -> None:
    """With `track_tensorboard` false nothing that a writer is given is recorded."""
    from torch.utils.tensorboard import SummaryWriter

    config = {"dir": str(tmp_path / "store"), "quiet": True, "track_system": False, "track_tensorboard": False}
    with tracelet.start_logging("written", config=config), SummaryWriter(str(tmp_path / "tb")) as writer:
        writer.add_scalar("loss", 1.0, 0)
    assert tracelet.open_store(tmp_path / "store").run("written").metrics() == []


class _Writing(torch.utils.data.Dataset[int]):
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        self._writer.add_scalar("from a worker", 1.0, index)
        return index


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_a_forked_worker_writes_is_reported(recording: Path, tmp_path: Path, caplog: Any) -> None:
    """A DataLoader worker records nothing, and the run says how often that happened."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "tb")) as writer:
        loader = torch.utils.data.DataLoader(_Writing(writer), num_workers=1, multiprocessing_context="fork")
        assert len(list(loader)) == 4
    run = _ended(recording)
    assert "from a worker" not in run.metrics()
    assert any("forked processes" in problem for problem in run.problems)


@pytest.mark.filterwarnings("ignore")  # what Lightning says about tiny loaders is not our subject
@pytest.mark.parametrize("flavour", ["lightning.pytorch", "pytorch_lightning"])
def test_beside_lightnings_own_logger_nothing_is_recorded_twice(flavour: str, recording: Path, tmp_path: Path) -> None:
    """`self.log` is recorded once, at every step, and what goes to `self.logger.experiment` is recorded beside it."""
    pl = importlib.import_module(flavour)
    demos = importlib.import_module(f"{flavour}.demos.boring_classes")
    loggers = importlib.import_module(f"{flavour}.loggers")

    class Module(demos.BoringModel):  # type: ignore[name-defined, misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)["loss"]
            self.log("via_log", loss)
            self.logger.experiment.add_scalar("via_experiment", loss, self.global_step)
            return loss

    trainer = pl.Trainer(
        max_epochs=1, limit_train_batches=4, limit_val_batches=0, accelerator="cpu", log_every_n_steps=1,
        logger=loggers.TensorBoardLogger(str(tmp_path / "tb")), enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(Module())
    run = _ended(recording)
    assert run.series("via_log").steps.tolist() == [0, 1, 2, 3]
    assert run.series("via_experiment").values.tolist() == run.series("via_log").values.tolist()
    assert "epoch" not in run.metrics()
