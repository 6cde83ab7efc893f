"""What a DDP training step on two ranks takes with tracelet, divided by what it takes without, trainings by turns.

Both ranks (gloo, CPU) train the same short trainings again and again, with and without tracelet in turn, because a
shared machine's speed swings by more than the budget; which of a pair comes first changes too. Rank 0's clock counts:
in DDP every rank waits for the slowest. The time is that from one step to a later one, start and end of the training
left out; CPU time is that of rank 0's process with all its threads, tracelet's among them, and not the agent's.
"""

from __future__ import annotations

import bisect
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any

import measure
from measure import Cost

import tracelet

WARM_UP = 2.0
"""Seconds of training (at most half of its steps) before the clock runs, with tracelet and without: the agent's start
takes the processor for a while and is no part of a step, and a processor that has slept is slower for the next second.
"""
LENGTHS = ((0, 900), (20, 220))
"""Milliseconds of sleep in a step (the least step there is, and one of an ordinary small model), and steps."""


def train(steps: int, milliseconds: int) -> Cost:
    """What a step of one training on all ranks costs."""
    import torch
    from lightning import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 1)
            self.walls: list[float] = []
            self.processors: list[float] = []

        def training_step(self, batch: Any, index: int) -> Any:
            self.walls.append(time.perf_counter())
            self.processors.append(time.process_time())
            loss = self.layer(batch[0]).pow(2).mean()
            for number in range(5):
                self.log(f"m{number}", loss)
            if milliseconds:
                time.sleep(milliseconds / 1000)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.01)

    module = Module()
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = torch.utils.data.TensorDataset(torch.randn(8 * steps, 8))
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4))
    first = min(bisect.bisect(module.walls, module.walls[0] + WARM_UP), steps // 2)
    return Cost.of(module.walls[first:], module.processors[first:])


def recorded(steps: int, milliseconds: int) -> Cost:
    """The same with tracelet."""
    with tracelet.start_logging("benchmark", config={"quiet": True}):
        return train(steps, milliseconds)


def shown(ones: Sequence[float], others: Sequence[float]) -> str:
    """The median of the pairs, and how far the middle half of them is apart."""
    ratios = sorted(one / other for one, other in zip(ones, others, strict=True))
    low, high = measure.percentile(ratios, 0.25), measure.percentile(ratios, 0.75)
    return f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"


def rank(quick: bool) -> None:
    """What each of the two ranks does."""
    warnings.filterwarnings("ignore")
    pairs = 3 if quick else 15
    for milliseconds, steps in LENGTHS:
        train(60, milliseconds)
        with_us: list[Cost] = []
        without: list[Cost] = []
        for number in range(pairs):
            for way in (train, recorded) if number % 2 else (recorded, train):
                (with_us if way is recorded else without).append(way(steps, milliseconds))
        if os.environ["RANK"] == "0":
            bare = statistics.median(cost.wall for cost in without)
            print(f"RESULT step of {1000 * bare:.2f} ms on two ranks, {pairs} pairs of trainings: with tracelet / "
                  "without (the middle half of the pairs)")  # fmt: skip
            for name, ones, others in zip(("wall", "processor", "median step"), zip(*with_us), zip(*without)):
                print(f"RESULT   {name}: {shown(ones, others)}", flush=True)


def main() -> None:
    """Start the two ranks and show what rank 0 found."""
    if "RANK" in os.environ:
        rank("--quick" in sys.argv)
        return
    quick = measure.options(__doc__ or "").quick
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
            + ["--quick"] * quick,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TRACELET_DIR": folder},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    found = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    print("\n".join(found) or done.stdout + done.stderr)


if __name__ == "__main__":
    main()
