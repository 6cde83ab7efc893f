"""What is read without naming a rank is what Lightning itself computes with `sync_dist=True`, bit for bit."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import tracelet

TRAINING = Path(__file__).with_name("ddp_training.py")
SETTINGS = {
    "TRACELET_QUIET": "1", "TRACELET_DELIVERY": "off", "TRACELET_TRACK_SYSTEM": "0", "TRACELET_TRACK_GIT": "0",
    "TRACELET_TRACK_ENV": "0", "TRACELET_TRACK_SPANS": "0", "TRACELET_TRACK_LEARNING_RATE": "0",
    "OMP_NUM_THREADS": "1",
}  # fmt: skip
Points = list[tuple[int, float]]


def train(*arguments: str) -> None:
    """Run the training on several ranks."""
    done = subprocess.run(
        [sys.executable, str(TRAINING), *arguments], capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, **SETTINGS},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def of_csv(path: Path) -> dict[str, Points]:
    """The series that a CSVLogger wrote."""
    found: dict[str, Points] = defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if text and name not in ("step", "epoch"):
                    found[name].append((int(row["step"]), float(text)))
    return dict(found)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "ranks"), [("ddp", "2"), ("ddp_fork", "2"), ("ddp", "4")])
def test_the_aggregate_is_what_sync_dist_gives(strategy: str, ranks: str) -> None:
    """Means, sums, minima and maxima, of steps and epochs, with unequal last batches; synced ones untouched."""
    train(strategy, ranks, "oracle")
    train(strategy, ranks)
    expected = of_csv(next(Path("oracle").rglob("metrics.csv")))
    (run,) = tracelet.open_store().runs()
    assert run.metrics() == sorted(expected)
    for name, points in expected.items():
        series = run.series(name)
        assert list(zip(series.steps.tolist(), series.values.tolist())) == points, name
        assert series.complete or name == "alone"
    spread = run.spread("loss_step")
    each = [run.series("loss_step", rank=rank).values.tolist() for rank in range(int(ranks))]
    assert spread.least.tolist() == [min(values) for values in zip(*each)]
    assert spread.greatest.tolist() == [max(values) for values in zip(*each)]
    assert set(spread.ranks.tolist()) == {int(ranks)}
