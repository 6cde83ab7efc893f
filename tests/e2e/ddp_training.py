"""A training on several ranks, for the tests beside it: `python ddp_training.py STRATEGY RANKS [oracle]`.

`oracle` trains with `sync_dist=True` and a CSVLogger; else tracelet records and nothing is synced.
Batches are of four rows and the last
ones of the ranks differ, so that a mean over ranks that weighs wrongly shows.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import distributed
from torch.utils.data import DataLoader, Sampler, TensorDataset

import tracelet

REDUCTIONS = ("sum", "min", "max")


class Module(pl.LightningModule):
    """Logs each reduction in each way."""

    def __init__(self, sync: bool) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.sync = sync

    def training_step(self, batch: Any, index: int) -> Any:
        """Step and epoch values, and one that only rank 0 logs."""
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("loss", loss, on_step=True, on_epoch=True, sync_dist=self.sync)
        for name in REDUCTIONS:
            self.log(f"train_{name}", loss, on_step=True, on_epoch=True, reduce_fx=name, sync_dist=self.sync)
        self.log("alone", loss, rank_zero_only=True)
        self.log("synced", loss, sync_dist=True)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        """Epoch values."""
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("val", loss, sync_dist=self.sync)
        for name in REDUCTIONS:
            self.log(f"val_{name}", loss, reduce_fx=name, sync_dist=self.sync)

    def configure_optimizers(self) -> Any:
        """Plain descent."""
        return torch.optim.SGD(self.parameters(), 0.05)


class Shares(Sampler[int]):
    """Deals the rows out to the ranks without padding."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[int]:
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
        return iter(range(rank, self.rows, world))

    def __len__(self) -> int:
        return len(list(iter(self)))


def loader(rows: int) -> DataLoader[Any]:
    """Batches of four rows."""
    data = torch.randn(rows, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(data), batch_size=4, sampler=Shares(rows))


def main() -> None:
    """Train as the command line says."""
    warnings.filterwarnings("ignore")
    strategy, ranks = sys.argv[1], int(sys.argv[2])
    oracle = len(sys.argv) > 3 and sys.argv[3] == "oracle"
    pl.seed_everything(1, verbose=False)
    if not oracle:
        tracelet.start_logging("ddp")
    logger: Any = pl.loggers.CSVLogger("oracle", name="", version="") if oracle else False
    trainer = pl.Trainer(
        max_epochs=3, strategy=strategy, devices=ranks, accelerator="cpu", logger=logger, log_every_n_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(Module(oracle), loader(9 * ranks + ranks - 1), loader(7 * ranks + 1))


if __name__ == "__main__":
    main()
