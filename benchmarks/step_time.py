"""What a training step of Lightning takes with tracelet, divided by what it takes without, in interleaved processes.

A tiny model with five logged metrics a step, everything that tracelet records by default switched on. `CSVLogger` and
`TensorBoardLogger` with their defaults (every 50th step is logged; tracelet records every step) are there for context.
Besides the wall clock, which on a shared machine swings by more than the budget, the processor time of the whole
process is compared: all that tracelet does beside the training thread is in it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import measure

if TYPE_CHECKING:
    import torch

WARM_UP = 100
"""Steps before the clock runs: allocation, lazy imports and the first checkpointless epoch hooks are behind them."""
SIZE = 192
"""Edge of the square matrices that are multiplied to make a step longer; about 0.2 ms each on one core."""


def busy(matrix: torch.Tensor, times: int) -> None:
    """Work of a fixed amount, which lets go of the interpreter as real kernels do."""
    for _ in range(times):
        matrix @ matrix


class Cost(NamedTuple):
    """Seconds a step."""

    wall: float
    processor: float

    @classmethod
    def now(cls) -> Cost:
        """Both clocks."""
        return cls(time.perf_counter(), time.process_time())


def train(kind: str, steps: int, work: int) -> Cost:
    """What a step of one training in this process costs."""
    import torch
    from lightning import LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    class Tiny(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(16, 1)
            self.matrix = torch.ones(SIZE, SIZE) / SIZE
            self.begin = self.end = Cost.now()

        def training_step(self, batch: Any, batch_index: int) -> torch.Tensor:
            if batch_index == WARM_UP:
                self.begin = Cost.now()
            busy(self.matrix, work)
            (inputs,) = batch
            loss = self.layer(inputs).square().mean()
            for name in ("loss", "accuracy", "norm", "score", "margin"):
                self.log(name, loss)
            self.end = Cost.now()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    torch.set_num_threads(1)
    loggers = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}
    logger = loggers[kind](os.getcwd()) if kind in loggers else False
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn((steps + WARM_UP + 1) * 8, 16)), 8)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=logger, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    model = Tiny()
    trainer.fit(model, data)
    return Cost(*((end - begin) / steps for begin, end in zip(model.begin, model.end, strict=True)))


def child(arguments: list[str]) -> None:
    """One training in a process of its own: prints its cost."""
    kind, steps, work = arguments[0], int(arguments[1]), int(arguments[2])
    if kind == "tracelet":
        import tracelet

        tracelet.start_logging("step-time", config={"delivery": "off", "quiet": True, **json.loads(arguments[3])})
    print(*train(kind, steps, work))


def run(kind: str, steps: int, work: int, place: Path, **settings: object) -> Cost:
    """What a step of one training in a fresh process costs."""
    command = [sys.executable, "-W", "ignore", __file__, "--child", kind, str(steps), str(work), json.dumps(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=True)
    wall, processor = done.stdout.split()[-2:]
    return Cost(float(wall), float(processor))


def calibrate(milliseconds: float) -> int:
    """How many multiplications take that long here."""
    import torch

    torch.set_num_threads(1)
    matrix = torch.ones(SIZE, SIZE) / SIZE
    busy(matrix, 50)
    begin = time.perf_counter()
    busy(matrix, 200)
    return max(1, int(milliseconds / 1e3 / ((time.perf_counter() - begin) / 200)))


def compare(what: str, steps: int, work: int, rounds: int, place: Path, budget: str) -> None:
    """Print the ratios of one length of step."""
    costs: dict[str, list[Cost]] = {"none": [], "tracelet": [], "csv": [], "tensorboard": []}
    for turn in range(rounds):
        for kind in costs if turn % 2 else reversed(costs):
            try:
                costs[kind].append(run(kind, steps, work, place))
            except subprocess.CalledProcessError as error:
                if kind != "tensorboard":  # which may not be installed, and is here for context only
                    raise SystemExit(error.stderr) from error
    print(f"{what}: {steps:,} steps, {rounds} rounds of interleaved processes")
    plain, ours = costs["none"], costs["tracelet"]
    for name, clock in (("wall", 0), ("processor", 1)):
        bare, tracked = [cost[clock] for cost in plain], [cost[clock] for cost in ours]
        extra = statistics.median(one - other for one, other in zip(tracked, bare, strict=True))
        measure.row(f"{name}: no tracker, no logger", f"{statistics.median(bare) * 1e3:.3f} ms")
        measure.row(f"{name}: tracelet, every step, all defaults", f"+ {extra * 1e6:.0f} us a step")
        measure.row(f"{name}: tracelet / none, median of pairs", f"{measure.ratio(tracked, bare):.3f}", budget)
        for kind in ("csv", "tensorboard"):
            if len(costs[kind]) == rounds:
                ratio = measure.ratio([cost[clock] for cost in costs[kind]], bare)
                measure.row(f"{name}: {kind} logger / none (every 50th step)", f"{ratio:.3f}")


def main(quick: bool, place: Path) -> None:
    """Both lengths of step."""
    rounds = 3 if quick else 11
    compare("about 1 ms a step", 300 if quick else 2_000, 0, rounds, place, "budget 1.05")
    compare("about 20 ms a step", 60 if quick else 300, calibrate(19), rounds, place, "budget 1.01")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        chosen = measure.options(__doc__)
        with measure.folder() as made:
            main(chosen.quick, made)
