"""What a DDP training step on two ranks takes with tracelet, divided by what it takes without, trainings by turns.

Both ranks (gloo, CPU) train the same short trainings again and again, with and without tracelet in turn, because a
shared machine's speed swings by more than the budget; which of a pair comes first changes too. Rank 0's clock counts:
in DDP every rank waits for the slowest. The time is that from one step to a later one, start and end of the training
left out; CPU time is that of rank 0's process with all its threads, tracelet's among them, and not the agent's.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from typing import Any

import measure

import tracelet

WARM_UP = 20
"""Steps before the clock runs."""
SETTLE = 2.0
"""Seconds after `start_logging()`: the agent's own start takes the processor for a while, and is no part of a step."""
WORKS = (0, 20)
"""Milliseconds of sleep in a step: the least step there is, and one of an ordinary small model."""


def train(steps: int, milliseconds: int) -> tuple[float, float]:
    """Seconds a step of one training on all ranks: by the clock, and of the processor."""
    import torch
    from lightning import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 1)
            self.seen: list[tuple[float, float]] = []

        def training_step(self, batch: Any, index: int) -> Any:
            if index in {WARM_UP, steps - 1}:
                self.seen.append((time.perf_counter(), time.process_time()))
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
    (began, cpu_began), (ended, cpu_ended) = module.seen
    counted = steps - 1 - WARM_UP
    return (ended - began) / counted, (cpu_ended - cpu_began) / counted


def recorded(steps: int, milliseconds: int) -> tuple[float, float]:
    """The same with tracelet."""
    tracelet.start_logging("benchmark", config={"quiet": True})
    time.sleep(SETTLE)
    taken = train(steps, milliseconds)
    tracelet.stop_logging()
    return taken


def shown(ratios: list[float]) -> str:
    """The median of the pairs, and how far they are apart."""
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def rank(quick: bool) -> None:
    """What each of the two ranks does."""
    warnings.filterwarnings("ignore")
    pairs, steps = (3, 120) if quick else (9, 400)
    for milliseconds in WORKS:
        train(WARM_UP + 20, milliseconds)
        clock, processor, bare = [], [], []
        for number in range(pairs):
            ways = (train, recorded) if number % 2 else (recorded, train)
            taken = {way: way(steps, milliseconds) for way in ways}
            clock.append(taken[recorded][0] / taken[train][0])
            processor.append(taken[recorded][1] / taken[train][1])
            bare.append(taken[train][0])
        if os.environ["RANK"] == "0":
            print(f"RESULT step of {1000 * statistics.median(bare):.2f} ms on two ranks, {pairs} pairs: with tracelet "
                  f"{shown(clock)} of its time, {shown(processor)} of its CPU time", flush=True)  # fmt: skip


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
