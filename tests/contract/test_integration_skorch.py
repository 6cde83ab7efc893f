"""The history that a skorch net keeps is recorded row by row, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracelet
from tests.programs import recorded_run, weights_of, with_and_without

PROGRAM = """
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Checkpoint, EarlyStopping
from sklearn.datasets import load_digits
torch.manual_seed(0)
X, y = load_digits(return_X_y=True)
net = NeuralNetClassifier(torch.nn.Sequential(torch.nn.Linear(64, 10)), criterion=torch.nn.CrossEntropyLoss,
                          max_epochs=3, lr=0.1, callbacks=[Checkpoint(dirname="saved"), EarlyStopping()], verbose=0)
net.fit((X / 16).astype("float32"), y.astype("int64"))
told["weights"] = {weights}
rows = net.history.to_list()
told["rows"] = [{{name: float(value) for name, value in row.items() if name not in ("batches", "dur")}} for row in rows]
told["batches"] = [batch["train_loss"] for row in rows for batch in row["batches"] if "train_loss" in batch]
told["callbacks"] = [name for name, _ in net.callbacks_]
"""


@pytest.mark.slow
def test_a_program_is_the_same_with_us_and_recorded_exactly(tmp_path: Path) -> None:
    """Every number of every epoch's row is a point at the epoch's number, every batch's loss one at its own."""
    bare, recorded = with_and_without(PROGRAM.format(weights=weights_of("net.module_")), tmp_path)
    assert recorded == bare
    run = recorded_run(tmp_path)
    rows = recorded["rows"]
    for name in rows[0].keys() - {"epoch"}:
        assert run.series(name).steps.tolist() == [row["epoch"] for row in rows]
        assert run.series(name).values.tolist() == [row[name] for row in rows]
    assert len(run.series("dur")) == 3
    assert run.series("batch/train_loss").values.tolist() == recorded["batches"]
    assert (run.params["lr"], run.params["max_epochs"]) == (0.1, 3)
    assert str(run.params["criterion"]).endswith("CrossEntropyLoss")
    assert {file.name for file in run.artifacts} == {"params.pt", "optimizer.pt", "criterion.pt", "history.json"}


def test_fits_are_told_apart_and_the_classes_are_left_as_they_were(tmp_path: Path) -> None:
    """A second `fit` starts a new history, whose epochs count from 1 again: its points belong to fit 2."""
    import numpy
    import torch
    from skorch import NeuralNetRegressor
    from skorch.net import NeuralNet

    before = dict(vars(NeuralNet))
    config = {"dir": str(tmp_path / "store"), "quiet": True, "track_system": False}
    data = numpy.ones((20, 2), "float32"), numpy.ones((20, 1), "float32")
    with tracelet.start_logging("twice", config=config):
        net = NeuralNetRegressor(torch.nn.Linear(2, 1), max_epochs=2, verbose=0)
        net.fit(*data)
        net.fit(*data)
    assert dict(vars(NeuralNet)) == before
    series = tracelet.open_store(tmp_path / "store").run("twice").series("train_loss")
    assert series.steps.tolist() == [1, 2, 1, 2]
    assert series.only(fit=2).values.tolist() == [row["train_loss"] for row in net.history]
    with tracelet.start_logging("off", config={**config, "track_skorch": False}):
        net.fit(*data)
    assert "train_loss" not in tracelet.open_store(tmp_path / "store").run("off").metrics()
