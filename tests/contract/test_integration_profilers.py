"""Reports and traces of profilers are artifacts of the run, as the profiler has written them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.profilers import SimpleProfiler
from torch.profiler import ProfilerActivity, profile

import tracelet
from tracelet.store import artifacts
from tracelet.store.run import Run

SETTINGS = {"track_git": False, "track_env": False, "track_system": False, "delivery": "off", "quiet": True}


def recorded(example: Any, **settings: Any) -> Run:
    with tracelet.start_logging("profiled", config={**SETTINGS, **settings}) as experiment:
        example()
    return tracelet.open_store().run(experiment.id)


def export() -> None:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        torch.ones(2).sum()
    profiler.export_chrome_trace("trace.json")


def kept(run: Run, place: int = 0) -> bytes:
    return artifacts.object_path(run.path, run.artifacts[place].digest).read_bytes()


@pytest.mark.filterwarnings("ignore")  # PyTorch's profiler warns of itself
def test_a_trace_is_kept_once() -> None:
    """The trace that `export_chrome_trace` writes is an artifact with the same bytes; PyTorch is put back."""
    before = vars(torch.profiler.profiler._KinetoProfile)["export_chrome_trace"]
    run = recorded(export)
    assert [(artifact.name, artifact.kind) for artifact in run.artifacts] == [("profiler/trace.json", "trace")]
    assert kept(run) == Path("trace.json").read_bytes()
    assert vars(torch.profiler.profiler._KinetoProfile)["export_chrome_trace"] is before


@pytest.mark.filterwarnings("ignore")
def test_a_report_of_lightning() -> None:
    """The report that the Trainer has its profiler write is an artifact, word for word."""

    def example() -> None:
        trainer = Trainer(
            max_epochs=1, limit_train_batches=2, limit_val_batches=0, accelerator="cpu", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            profiler=SimpleProfiler(dirpath="reports", filename="simple"),
        )  # fmt: skip
        trainer.fit(BoringModel())

    run = recorded(example)
    assert [artifact.name for artifact in run.artifacts] == ["profiler/simple-fit.txt"]
    assert kept(run).decode() == Path("reports/fit-simple.txt").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore")
def test_switched_off() -> None:
    """With `track_profilers` off nothing of a profiler is kept."""
    assert recorded(export, track_profilers=False).artifacts == []
