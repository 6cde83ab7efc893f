"""What a training step of Lightning takes with tracelet, divided by what it takes without, trainings by turns.

A tiny model with five logged metrics a step, everything that tracelet records by default switched on. `CSVLogger` and
`TensorBoardLogger` with their defaults (every 50th step is logged; tracelet records every step) are there for context.
The trainings are short and take turns in one process, because a shared machine's speed swings by more than the budget
from one minute to the next; `stop_logging()` puts everything back, so the turns without tracelet are without any of it.
Every training, of whatever kind, trains for a second before its clock runs: what tracelet records once is behind it
then, and no kind may wait meanwhile, because a processor that has slept a second is 3% slower for the next.
Besides the wall clock the processor time of the whole process is compared: all that tracelet does beside the training
is in it. The median step of a training shows what the training thread pays when no neighbour on the machine disturbs
it; the means also hold the writer thread's bursts, the garbage collector and the neighbours.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import statistics
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure
from measure import Cost

import tracelet

if TYPE_CHECKING:
    import torch

WARM_UP = 1.0
"""Seconds of training before the clock runs: allocation, what happens once in an epoch, and what tracelet records once
(code, environment) are behind them.
"""
ENOUGH = 20_000
"""Batches that no training comes to the end of."""
SIZE = 192
"""Edge of the square matrices that are multiplied to make a step longer; about 0.2 ms each on one core."""


def busy(matrix: torch.Tensor, result: torch.Tensor, times: int) -> None:
    """Work of a fixed amount, which lets go of the interpreter as real kernels do and allocates nothing."""
    import torch

    for _ in range(times):
        torch.mm(matrix, matrix, out=result)


def train(kind: str, steps: int, work: int) -> Cost:
    """What a step of one training in this process costs."""
    import torch
    from lightning import LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Tiny(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(16, 1)
            self.matrix, self.result = torch.ones(SIZE, SIZE) / SIZE, torch.empty(SIZE, SIZE)
            self.walls: list[float] = []
            self.processors: list[float] = []

        def training_step(self, batch: Any, batch_index: int) -> torch.Tensor:
            now = time.perf_counter()
            if now > begin:
                self.walls.append(now)
                self.processors.append(time.process_time())
                self.trainer.should_stop = len(self.walls) > steps
            busy(self.matrix, self.result, work)
            (inputs,) = batch
            loss: torch.Tensor = self.layer(inputs).square().mean()
            for name in ("loss", "accuracy", "norm", "score", "margin"):
                self.log(name, loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    torch.set_num_threads(1)
    loggers = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}
    logger = loggers[kind](os.getcwd()) if kind in loggers else False
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(ENOUGH * 8, 16)), 8)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=logger, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    model = Tiny()
    begin = time.perf_counter() + WARM_UP
    trainer.fit(model, data)
    return Cost.of(model.walls, model.processors)


def turn_of(kind: str, steps: int, work: int, store: Path) -> Cost:
    """What a step costs in one more training of a kind."""
    gc.collect()
    if kind != "tracelet":
        return train(kind, steps, work)
    settings = {"delivery": "off", "quiet": True, "dir": str(store)}
    with tracelet.start_logging("step-time", config=settings):
        return train(kind, steps, work)


def calibrate(milliseconds: float) -> int:
    """How many multiplications take that long here."""
    import torch

    torch.set_num_threads(1)
    matrix, result = torch.ones(SIZE, SIZE) / SIZE, torch.empty(SIZE, SIZE)
    busy(matrix, result, 50)
    begin = time.perf_counter()
    busy(matrix, result, 200)
    return max(1, int(milliseconds / 1e3 / ((time.perf_counter() - begin) / 200)))


def compare(what: str, steps: int, work: int, rounds: int, store: Path, budget: str) -> None:
    """Print the ratios of one length of step."""
    others = ["tracelet", "csv", *(["tensorboard"] if find_spec("tensorboard") else [])]
    kinds, order = ["none", *others], random.Random(0)
    costs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
    for kind in kinds:
        turn_of(kind, steps, work, store)  # the first of each imports what it needs
    for _ in range(rounds):
        order.shuffle(kinds)  # a training also feels which kind ran before it
        for kind in kinds:
            costs[kind].append(turn_of(kind, steps, work, store))
    print(f"{what}: {steps:,} steps a training, {rounds} trainings of each kind by turns")
    for name, clock in (("wall", 0), ("processor", 1), ("median step", 2)):
        bare = [cost[clock] for cost in costs["none"]]
        measure.row(f"{name}: no tracker, no logger", f"{statistics.median(bare) * 1e3:.3f} ms")
        for kind in others:
            taken = [cost[clock] for cost in costs[kind]]
            extra = statistics.median(one - other for one, other in zip(taken, bare, strict=True))
            figure = f"{measure.ratio(taken, bare):.3f}  {extra * 1e6:+.0f} us"
            measure.row(f"{name}: {kind} / none, median of pairs", figure, budget if kind == "tracelet" else "")


def main(quick: bool, store: Path) -> None:
    """Both lengths of step."""
    rounds = 7 if quick else 61
    compare("short steps", 250, 0, rounds, store, "budget 1.05")
    compare("steps of about 20 ms", 50, calibrate(19), min(rounds, 21), store, "budget 1.01")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Lightning's advice about workers and logging intervals
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        os.chdir(made)
        main(chosen.quick, made / "store")
