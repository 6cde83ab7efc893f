"""A Lightning training for tests that interrupt it, run as a program: `python interrupted.py [STRATEGY DEVICES]`.

`STEPS`: how many it trains; it goes on for ever without. `EVERY`: the steps between two checkpoints; without there are
none, and with them the training goes on from the last one. `KEEP`: a SIGTERM is answered with a checkpoint. `SLURM`:
Lightning takes itself to be on a cluster that requeues jobs, and goes on by itself.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import tracelet

LAST = "checkpoints/last.ckpt"


class Module(pl.LightningModule):
    """Logs the loss through Lightning and a count by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, index: int) -> Any:
        """Takes long enough to be interrupted."""
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("loss", loss)
        tracelet.log({"count": 1.0})
        time.sleep(0.03)
        return loss

    def configure_optimizers(self) -> Any:
        """Plain descent."""
        return torch.optim.SGD(self.parameters(), 0.01)


class Keep(pl.Callback):
    """Saves what there is when the cluster wants the machine back."""

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save."""
        if os.environ.get("KEEP") and type(exception).__name__ == "SIGTERMException":
            trainer.save_checkpoint(LAST)


def main() -> None:
    """Train, or go on."""
    warnings.filterwarnings("ignore")
    strategy, devices = sys.argv[1:3] or ("auto", "1")
    steps, every = int(os.environ.get("STEPS", "1000000")), int(os.environ.get("EVERY", "0"))
    callbacks: list[Any] = [Keep()]
    if every:
        callbacks.append(ModelCheckpoint("checkpoints", save_last=True, every_n_train_steps=every, save_top_k=0))
    pl.seed_everything(1, verbose=False)
    tracelet.start_logging("interrupted")
    data = DataLoader(TensorDataset(torch.randn(80, 4)), batch_size=4)
    trainer = pl.Trainer(
        max_steps=steps, max_epochs=-1, logger=False, accelerator="cpu", strategy=strategy, devices=int(devices),
        callbacks=callbacks, enable_checkpointing=bool(every), enable_progress_bar=False, enable_model_summary=False,
        plugins=[SLURMEnvironment(auto_requeue=True)] if os.environ.get("SLURM") else None,
    )  # fmt: skip
    trainer.fit(Module(), data, ckpt_path=LAST if every and os.path.exists(LAST) else None)


if __name__ == "__main__":
    main()
