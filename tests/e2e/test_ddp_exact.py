"""Whoever launches the ranks, they are one run; what is read without naming a rank is what `sync_dist=True` gives."""

from __future__ import annotations

import csv
import os
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

import tracelet
from tests.environments import lightning_python
from tracelet.journal.records import Event
from tracelet.store.run import Run

TRAINING = Path(__file__).with_name("ddp_training.py")
SETTINGS = {
    "TRACELET_QUIET": "1", "TRACELET_DELIVERY": "off", "TRACELET_TRACK_SYSTEM": "0", "TRACELET_TRACK_GIT": "0",
    "TRACELET_TRACK_ENV": "0", "TRACELET_TRACK_SPANS": "0", "TRACELET_TRACK_LEARNING_RATE": "0",
    "OMP_NUM_THREADS": "1",
}  # fmt: skip
Points = list[tuple[int, float]]
_oracles: dict[int, dict[str, Points]] = {}
"""What Lightning itself computes with so many ranks: once is enough, for it is the same under each launcher."""


def train(strategy: str, ranks: int, *more: str) -> None:
    """Run the training on several ranks."""
    by_lightning = strategy not in ("torchrun", "srun")
    command = [lightning_python(), str(TRAINING), strategy if by_lightning else "ddp", str(ranks), *more]
    if strategy == "srun":
        start_like_srun(command, ranks)
        return
    if strategy == "torchrun":
        command[1:1] = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, env={**os.environ, **SETTINGS}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def start_like_srun(command: list[str], ranks: int) -> None:
    """Each rank on its own with SLURM's variables, as `srun` starts it."""
    step = {
        "SLURM_NTASKS": str(ranks), "SLURM_NTASKS_PER_NODE": str(ranks), "SLURM_NNODES": "1", "SLURM_NODEID": "0",
        "SLURM_NODELIST": "localhost", "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0",
        "SLURM_JOB_NAME": "train",
    }  # fmt: skip
    logs = [Path(f"rank-{rank}.txt") for rank in range(ranks)]
    processes = []
    for rank, path in enumerate(logs):
        place = {**step, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
        with path.open("wb") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **SETTINGS, **place}))
    try:
        codes = [process.wait(280) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert not any(codes), "\n".join(path.read_text(encoding="utf-8") for path in logs)


def oracle(ranks: int) -> dict[str, Points]:
    """The series that a CSVLogger writes of the same training with `sync_dist=True`."""
    if ranks not in _oracles:
        train("ddp_fork", ranks, "oracle")  # the fastest to start
        _oracles[ranks] = of_csv(next(Path("oracle").rglob("metrics.csv")))
    return _oracles[ranks]


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
@pytest.mark.parametrize(
    ("strategy", "ranks"),
    [(strategy, ranks) for ranks in (2, 4) for strategy in ("ddp", "ddp_spawn", "ddp_fork", "torchrun", "srun")],
)
def test_the_aggregate_is_what_sync_dist_gives(strategy: str, ranks: int) -> None:
    """Means, sums, minima and maxima, of steps and epochs, with unequal last batches; synced ones untouched."""
    expected = oracle(ranks)
    train(strategy, ranks)
    (run,) = tracelet.open_store().runs()
    assert run.metrics() == sorted(expected)
    for name, points in expected.items():
        series = run.series(name)
        assert list(zip(series.steps.tolist(), series.values.tolist())) == points, name
        assert series.complete or name == "alone"
    spread = run.spread("loss_step")
    each = [run.series("loss_step", rank=rank).values.tolist() for rank in range(ranks)]
    assert spread.min.tolist() == [min(values) for values in zip(*each)]
    assert spread.max.tolist() == [max(values) for values in zip(*each)]
    assert set(spread.ranks.tolist()) == {ranks}
    check_ranks(run, ranks)


def check_ranks(run: Run, ranks: int) -> None:
    """Each rank says rightly who it is, how it ended, and has the metrics of its own."""
    assert (run.info.status, run.info.reason, run.problems) == ("finished", "", [])
    assert run.info.world_size == ranks
    launched = {view.started.parent for view in run.views if view.started}
    trained = [view for view in run.views if view.started and view.path.name not in launched]
    for rank, view in enumerate(trained):
        one = view.started
        assert one is not None
        assert (one.rank, one.local_rank, one.node_rank, one.world_size) == (rank, rank, 0, ranks)
        told = [(event.name, event.attributes.get("status")) for event in view.records(Event)]
        assert [event for event in told if event[0].startswith("fit_")] == [
            ("fit_started", None), ("fit_finished", "finished")
        ]  # fmt: skip
        series = run.series("loss_step", rank=rank)
        assert series.steps.tolist() == list(range(9))
        assert set(series.fits.tolist()) == {1}
    assert len(trained) == ranks
    assert len({tuple(run.series("loss_step", rank=rank).values.tolist()) for rank in range(ranks)}) == ranks
