"""Waits and hangs of real trainings: a rank that holds up another one, and what a hung and then killed run shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import tracelet
from tests.programs import ROOT
from tracelet.cli import main
from tracelet.store.process_status import statuses_by_number
from tracelet.telemetry.reading.time_analysis import analyse

LIGHTNING = """
import logging, os, sys, time, warnings; warnings.simplefilter("ignore")
import torch, tracelet
import lightning.pytorch as pl
from torch.utils.data import DataLoader
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
mine = lambda: int(os.environ.get("LOCAL_RANK", 0)) == 1
class SlowBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.clone()
    @staticmethod
    def backward(ctx, grad): time.sleep(0.03 if mine() else 0); return grad
class Module(pl.LightningModule):
    def __init__(self): super().__init__(); self.net = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        if sys.argv[1] == "hang" and index == 3: time.sleep(600)
        if mine() and index == 20: time.sleep(1.5)
        return SlowBackward.apply(self.net(batch)).square().mean()
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=0.01)
if __name__ == "__main__":
    tracelet.start_logging(sys.argv[1], config={"quiet": True, "delivery": "off", "track_system": False,
                                                "track_git": False, "track_env": False})
    more = {"devices": 2, "strategy": "ddp"} if sys.argv[1] == "ranks" else {}
    pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=1,
               enable_checkpointing=False, **more).fit(Module(), DataLoader(torch.ones(60 if more else 10, 4), 1))
    tracelet.stop_logging()
"""
HUNG_LOADER = """
import time, torch, tracelet
from torch.utils.data import DataLoader, Dataset
class Items(Dataset):
    def __len__(self): return 10
    def __getitem__(self, index):
        if index == 3: time.sleep(600)
        return torch.ones(4)
tracelet.start_logging("loader", config={"quiet": True, "delivery": "off", "track_system": False})
net = torch.nn.Linear(4, 1); optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for batch in DataLoader(Items(), 1):
    optimizer.zero_grad(); net(batch).square().mean().backward(); optimizer.step()
"""

LIVES = """
import glob, logging, os, signal, sys, time, warnings; warnings.simplefilter("ignore")
import torch, tracelet
import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
class Module(pl.LightningModule):
    def __init__(self): super().__init__(); self.net = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        time.sleep(0.1)
        if self.global_step == int(sys.argv[1]):
            time.sleep(1)  # so that everything before is on disk
            os.kill(os.getpid(), signal.SIGKILL)
        return self.net(batch).square().mean()
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=0.01)
tracelet.start_logging("lives", run_id="lives", config={
    "quiet": True, "delivery": "off", "track_system": False, "track_git": False, "track_env": False})
saved = sorted(glob.glob("saved/*.ckpt"), key=os.path.getmtime)
trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
    max_steps=20, callbacks=[ModelCheckpoint("saved", every_n_train_steps=5, save_top_k=-1)])
trainer.fit(Module(), DataLoader(torch.ones(40, 4), 1), ckpt_path=saved[-1] if saved else None)
tracelet.stop_logging()
"""


def command(program: str, folder: Path, *arguments: str) -> list[str]:
    script = folder / "program.py"
    script.write_text(program, encoding="utf-8")
    return [sys.executable, str(script), *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_the_rank_that_others_wait_for(tmp_path: Path) -> None:
    """Under DDP a slow backward pass of one rank and its one long step are told with rank and phase; the other rank
    waits, and its own phases are short.
    """
    done = subprocess.run(
        command(LIGHTNING, tmp_path, "ranks"), env=environment(), capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = tracelet.open_store().run("ranks")
    waiting, slow = analyse(run.spans(), statuses_by_number(run.views))
    assert not waiting.straggles and waiting.parts["collective_wait"] > 1.5 + 29 * 0.03
    assert waiting.parts["backward"] < 29 * 0.03
    lasting = [one for one in slow.straggles if one.lasting]
    once = [one for one in slow.straggles if not one.lasting]
    assert [one.phase for one in lasting] == ["backward"] and [(one.phase, one.first) for one in once] == [
        ("forward", 20)
    ]
    update = next(event.attributes for event in run.events("training_metrics_update"))
    assert update["avg_collective_wait_time_sec"] > 0.03 and update["avg_backward_time_sec"] < 0.03
    page = CliRunner().invoke(main, ["time", "ranks"]).output
    findings = page[page.index("Findings") :].splitlines()
    assert "Rank 1 holds up the other ranks" in findings[1] and "in forward, once, in iteration 20" in page


@pytest.mark.slow
def test_goodput_of_three_lives(tmp_path: Path) -> None:
    """Killed in step 8 after a checkpoint at 5, killed in step 12 after one at 10, finished at 20: 20 steps of 0.1 s
    are productive, and what was done twice is lost.
    """
    began = time.time()
    for killed_in in ("8", "12", "-1"):
        done = subprocess.run(
            command(LIVES, tmp_path, killed_in), env=environment(), capture_output=True, text=True, timeout=100,
            check=False,
        )  # fmt: skip
        assert done.returncode == (0 if killed_in == "-1" else -signal.SIGKILL), done.stderr
    wall = time.time() - began
    found = json.loads(CliRunner().invoke(main, ["time", "lives", "--json"]).output)["run"]
    parts = found["parts"]
    assert (found["attempts"], found["ranks"]) == (3, 1)
    assert wall / 2 < found["wall"] <= wall  # the first process begins, and the last one ends, outside the record
    assert sum(parts.values()) == pytest.approx(found["wall"])
    assert 2.0 <= parts["productive"] < 3.0  # sleeping takes longer on a busy machine
    # Three steps and one of 1.1 s, then two and one. Without an agent the end of a killed process is its last write.
    assert 5 * 0.1 + 2 * 0.5 < parts["lost"] < 5 * 0.1 + 2 * 1.1 + 1.5
    assert parts["startup"] > 0 and parts["down"] > 0 and parts["checkpoint"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "name", "phase"), [(LIGHTNING, "hang", "model_forward"), (HUNG_LOADER, "loader", "data_loading")]
)
def test_a_hung_run_shows_its_phase(program: str, name: str, phase: str, tmp_path: Path) -> None:
    """While it hangs, the phase is shown as running now; once it is killed, as what it was in when it ended."""
    with subprocess.Popen(command(program, tmp_path, name), env=environment(), stderr=subprocess.DEVNULL) as hung:
        try:
            expected = f"application > training_loop > training_single_iteration > {phase}"
            page = ""
            deadline = time.monotonic() + 120
            while f"rank 0: {expected} (for " not in page and time.monotonic() < deadline and hung.poll() is None:
                time.sleep(0.2)
                page = CliRunner().invoke(main, ["time", name]).output
            assert f"rank 0: {expected} (for " in page
            assert "ended" not in page
        finally:
            hung.send_signal(signal.SIGKILL)
    page = CliRunner().invoke(main, ["time", name]).output
    assert f"Rank 0 ended while it was in {expected}." in page and "Running now" not in page
    run = tracelet.open_store().run(name)
    (times,) = analyse(run.spans(), statuses_by_number(run.views))
    assert times.parts["forward" if phase == "model_forward" else "loading"] > 0.5
