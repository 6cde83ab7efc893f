"""A training on two ranks, delivered while it goes on: one remote run with each aggregated point once."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

import tracelet
from tests.environments import lightning_python
from tests.probes.agents import until
from tracelet.store import summaries
from tracelet.store.run import Run

TRAINING = Path(__file__).with_name("ddp_training.py")
SETTINGS = {
    "TRACELET_QUIET": "1", "TRACELET_DELIVERY": "agent", "TRACELET_TRACK_SYSTEM": "0", "TRACELET_TRACK_GIT": "0",
    "TRACELET_TRACK_ENV": "0", "OMP_NUM_THREADS": "1",
}  # fmt: skip
Points = list[tuple[int, float]]


def train(strategy: str, backend: str) -> Run:
    """Train on two ranks, to the end of the delivery."""
    done = subprocess.run(
        [lightning_python(), str(TRAINING), strategy, "2"], capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, **SETTINGS, "TRACELET_BACKEND": backend},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = tracelet.open_store().runs()
    return run


def of_jsonl(run: Run) -> dict[str, Points]:
    """What the jsonl backend wrote."""
    found: dict[str, Points] = defaultdict(list)
    (path,) = (run.path.parents[1] / "jsonl").rglob("*.jsonl")
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["kind"] == "point":
            found[record["name"]].append((record["step"], record["value"]))
    return dict(found)


@pytest.mark.slow
def test_a_backend_gets_each_point_once() -> None:
    """The remote series are the aggregated ones of the store, with forked ranks too; lists have their figures."""
    run = train("ddp_fork", "jsonl")
    assert run.deliveries["jsonl"].state == "done"
    remote = of_jsonl(run)
    for name in (
        "loss_step",
        "loss_epoch",
        "val",
        "val_sum",
        "val_min",
        "val_max",
        "train_sum_epoch",
        "alone",
        "synced",
    ):
        series = run.series(name)
        assert remote[name] == list(zip(series.steps.tolist(), series.values.tolist())), name
    assert until((run.path / summaries.FILE_NAME).exists)
    assert repr(sorted(run.summaries().items())) == repr([(name, run.summary(name)) for name in run.metrics()])
