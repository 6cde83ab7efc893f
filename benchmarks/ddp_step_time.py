"""What a DDP training step on two ranks takes with tracelet, divided by what it takes without, trainings by turns.

Both ranks (gloo, CPU) train the same short trainings again and again, with and without tracelet in turn, because a
shared machine's speed swings by more than the budget. Rank 0's clock counts: in DDP every rank waits for the slowest.
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
WORKS = (0, 20)
"""Milliseconds of sleep in a step: the least step there is, and one of an ordinary small model."""


def train(steps: int, milliseconds: int) -> float:
    """Seconds a step of one training on all ranks."""
    import torch
    from lightning import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 1)
            self.began = 0.0

        def training_step(self, batch: Any, index: int) -> Any:
            if index == WARM_UP:
                self.began = time.perf_counter()
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
    return (time.perf_counter() - module.began) / (steps - WARM_UP)


def rank(quick: bool) -> None:
    """What each of the two ranks does."""
    warnings.filterwarnings("ignore")
    pairs, steps = (3, 120) if quick else (9, 400)
    for milliseconds in WORKS:
        train(WARM_UP + 20, milliseconds)
        ratios, bare = [], []
        for _ in range(pairs):
            without = train(steps, milliseconds)
            tracelet.start_logging("benchmark", config={"quiet": True})
            with_it = train(steps, milliseconds)
            tracelet.stop_logging()
            ratios.append(with_it / without)
            bare.append(without)
        if os.environ["RANK"] == "0":
            step = 1000 * statistics.median(bare)
            print(f"RESULT step of {step:.2f} ms on two ranks: with tracelet {statistics.median(ratios):.3f} of it "
                  f"(median of {pairs} pairs; {min(ratios):.3f} to {max(ratios):.3f})", flush=True)  # fmt: skip


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
