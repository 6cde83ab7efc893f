"""With tracelet, ranks talk to one another exactly as without: no collective is ours, and the weights are equal."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from pathlib import Path

import pytest

import tracelet
from tests.environments import lightning_python

COLLECTIVES = (
    "all_reduce", "broadcast", "barrier", "all_gather", "all_gather_object", "broadcast_object_list", "reduce",
    "gather", "gather_object", "scatter", "scatter_object_list", "reduce_scatter", "all_to_all",
    "send", "recv", "isend", "irecv", "monitored_barrier", "all_gather_into_tensor", "reduce_scatter_tensor",
    "new_group",
)  # fmt: skip
SCRIPT = f"""
    import collections, functools, json, os, sys, warnings
    warnings.filterwarnings("ignore")
    import torch
    from torch import distributed
    from torch.distributed import distributed_c10d

    counts = collections.Counter()

    def counted(name, function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)
        return call

    for name in {COLLECTIVES!r}:
        wrapper = counted(name, getattr(distributed, name))
        setattr(distributed, name, wrapper)
        setattr(distributed_c10d, name, wrapper)

    import lightning.pytorch as pl
    from torch.utils.data import DataLoader, TensorDataset
    import tracelet

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)
        def training_step(self, batch, index):
            loss = self.layer(batch[0]).pow(2).mean()
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss
        def validation_step(self, batch, index):
            self.log("val", self.layer(batch[0]).mean())
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.05)

    pl.seed_everything(1, verbose=False)
    if sys.argv[1] == "with":
        tracelet.start_logging("x")
    trainer = pl.Trainer(
        max_epochs=2, logger=False, accelerator="cpu", devices=2, strategy="ddp", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )
    module = Module()
    data = DataLoader(TensorDataset(torch.randn(24, 4)), batch_size=4)
    trainer.fit(module, data, data)
    tracelet.stop_logging()
    found = {{"counts": counts, "weights": [p.flatten().tolist() for p in module.parameters()]}}
    with open(f"{{sys.argv[1]}}-{{trainer.global_rank}}.json", "w") as file:
        json.dump(found, file)
"""
SETTINGS = {"TRACELET_QUIET": "1", "TRACELET_DELIVERY": "off", "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_our_code_calls_no_collective() -> None:
    """Every rank makes the same calls to torch.distributed with and without tracelet, and learns the same weights."""
    Path("train.py").write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    for way in ("without", "with"):
        done = subprocess.run(
            [lightning_python(), "train.py", way], capture_output=True, text=True, timeout=240, check=False,
            env={**os.environ, **SETTINGS},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    for rank in range(2):
        without, with_it = (
            json.loads(Path(f"{way}-{rank}.json").read_text(encoding="utf-8")) for way in ("without", "with")
        )
        assert with_it == without
        assert sum(without["counts"].values()) > 0
    (run,) = tracelet.open_store().runs()
    assert run.info.world_size == 2
