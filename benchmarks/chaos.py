"""Kills training, agent or both at random moments, resumes, and compares the backends with what was logged.

    python benchmarks/chaos.py                            50 kills against a real MLflow server
    python benchmarks/chaos.py --backend wandb,clearml    50 kills, both offline in the same run
    python benchmarks/chaos.py --quick                    6 kills

Each run is killed several times. A killed training starts again from its last checkpoint, so it repeats steps;
its last start runs to the end. Then `tracelet sync` delivers what is left, and `tracelet verify` reads back every
point. The points of a run are computed from its steps: the store is compared with the program, the backends with the
store.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import measure
import psutil

from tests.servers.mlflow_server import mlflow_server
from tracelet.agent.process.locks import holder, lock_path
from tracelet.store.store import Store

TRAINING = """
import json, os, sys, time
from pathlib import Path
import torch, tracelet

order = json.loads(sys.argv[1])
progress, checkpoint = Path(order["progress"]), Path(order["progress"] + ".ckpt")
step = torch.load(checkpoint)["step"] if checkpoint.exists() else 0
run = tracelet.start_logging("chaos", run_id=order["run"], backend=order["backend"], config={
    "dir": order["dir"], "quiet": True, "metrics_interval": 0.5, "track_git": False, "agent_linger": 60})
print("started", flush=True)
while step < order["steps"] or not order["last"]:
    run.log_metrics({"loss": 1 / (step + 1), "val/loss": step * 0.1}, step=step)
    for sample in range(3):
        run.log_metric("sample", float(step), step=step)
    step += 1
    if step % 100 == 0:
        torch.save({"weight": torch.zeros(1), "step": step}, beside := str(checkpoint) + ".new")
        os.replace(beside, checkpoint)
    Path(beside := order["progress"] + ".new").write_text(str(step))
    os.replace(beside, progress)
    time.sleep(order["pause"])
tracelet.stop_logging(120)
"""
KILLED_KINDS = "training", "agent", "both"
PER_RUN = 10
"""Kills of one run."""
KINDS = "missing", "doubled", "different"
STEP_POINTS = 5
"""Points that the program logs in a step."""
TAIL_STEPS = 200
"""Steps after the last kill."""


@dataclass
class Result:
    """The totals over all runs."""

    kills: Counter[str] = field(default_factory=Counter)
    logged: int = 0
    store: Counter[str] = field(default_factory=Counter)
    backends: dict[str, Counter[str]] = field(default_factory=dict)


class ChaosRun:
    """One run, and the processes that belong to it."""

    def __init__(self, place: Path, number: int, backend: dict[str, Any]) -> None:
        self.id = f"chaos-{number}"
        self.place = place
        self.store = place / "store"
        self.folder = self.store / "runs" / self.id
        self.progress = place / f"{self.id}.steps"
        self._backend = backend
        self._process: subprocess.Popen[bytes] | None = None

    def steps(self) -> int:
        """The number of steps that the program has logged."""
        return int(self.progress.read_text()) if self.progress.exists() else 0

    def train(self, last: bool = False) -> subprocess.Popen[bytes]:
        """Start the training unless it runs; with `last` as one that ends by itself."""
        if self._process is None or self._process.poll() is not None:
            order = {
                "run": self.id, "dir": str(self.store), "progress": str(self.progress), "backend": self._backend,
                "pause": 0.002, "steps": self.steps() + TAIL_STEPS, "last": last,
            }  # fmt: skip
            self._process = subprocess.Popen(
                [sys.executable, "-c", TRAINING, json.dumps(order)], cwd=self.place, env=environment(),
                stdout=subprocess.PIPE,
            )  # fmt: skip
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == b"started\n"
        return self._process

    def kill(self, kind: str, with_children: bool) -> bool:
        """SIGKILL; whether a process was there to be killed."""
        agent = holder(lock_path(self.folder))
        training = self.train()
        if kind != "training" and not (agent and psutil.pid_exists(agent)):
            return False
        if kind != "training":
            children = psutil.Process(agent).children(recursive=True) if with_children else []
            for process in (psutil.Process(agent), *children):
                process.kill()
        if kind != "agent":
            training.kill()
            training.communicate()
        return True

    def finish(self) -> None:
        """Stop the training that still runs, let the last start run to its end, and deliver the rest."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        self.train(last=True).communicate()
        while (agent := holder(lock_path(self.folder))) and psutil.pid_exists(agent):
            time.sleep(0.2)
        said = tracelet(self, "sync", self.id)
        if said.returncode:
            print(said.stdout + said.stderr)

    def verify(self, result: Result) -> None:
        """Compare the program with the store, and the store with the backends."""
        run, steps = Store(self.store).run(self.id), self.steps()
        wanted = {"loss": [1 / (step + 1) for step in range(steps)], "val/loss": [step * 0.1 for step in range(steps)]}
        wanted["sample"] = [float(step) for step in range(steps) for _ in range(3)]
        result.logged += STEP_POINTS * steps
        for name, values in wanted.items():
            series = run.series(name)
            there, due = Counter(zip(series.steps.tolist(), series.values.tolist())), Counter[tuple[int, float]]()
            due.update((step, value) for step, value in zip(_steps(name, steps), values))
            result.store["missing"] += (due - there).total()
            result.store["doubled"] += (there - due).total()
        said = tracelet(self, "verify", self.id, "--json")
        found = json.JSONDecoder().raw_decode(said.stdout, said.stdout.index("{"))[0]["backends"]
        assert set(found) == set(self._backend), said.stdout + said.stderr
        for name, counts in found.items():
            result.backends.setdefault(name, Counter()).update({k: counts[k] for k in ("points", "there", *KINDS)})
            if counts["metrics"]:
                print(f"  {self.id} {name}: {counts['metrics']}", flush=True)


def _steps(name: str, steps: int) -> list[int]:
    return [step for step in range(steps) for _ in range(3 if name == "sample" else 1)]


def environment() -> dict[str, str]:
    """For a program that finds this tracelet."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
    return {**os.environ, "PYTHONPATH": str(measure.ROOT), "TRACELET_DELIVERY": "agent", **quiet}


def tracelet(run: ChaosRun, *words: str) -> subprocess.CompletedProcess[str]:
    """`tracelet ...` on the store of the run."""
    return subprocess.run(
        [sys.executable, "-m", "tracelet", *words, "--dir", str(run.store)], cwd=run.place, env=environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@contextmanager
def backends(names: list[str], place: Path) -> Iterator[dict[str, Any]]:
    """Their options; with MLflow, its server runs meanwhile."""
    options: dict[str, Any] = {name: {"mode": "offline"} for name in names if name in ("wandb", "clearml")}
    options |= {name: {} for name in names if name not in ("wandb", "clearml", "mlflow")}
    if "mlflow" not in names:
        yield options
        return
    with mlflow_server(place) as server:
        yield {**options, "mlflow": {"url": server.url}}


def torment(run: ChaosRun, kills: int, chance: random.Random, result: Result) -> None:
    """Kill it so many times, at random moments."""
    done = 0
    while done < kills:
        run.train()
        time.sleep(chance.uniform(0.2, 5.0))
        kind = chance.choice(KILLED_KINDS)
        if run.kill(kind, with_children=chance.random() < 0.5):
            result.kills[kind] += 1
            done += 1
    run.finish()
    run.verify(result)


def report(result: Result, seconds: float) -> None:
    """Print the totals."""
    kinds = ", ".join(f"{result.kills[kind]} {kind}" for kind in KILLED_KINDS)
    measure.row("SIGKILLs", str(result.kills.total()), kinds)
    measure.row("points that the program logged", f"{result.logged:,}")
    for kind in ("missing", "doubled"):
        measure.row(f"  {kind} in the store", f"{result.store[kind]:,}", "wanted 0")
    for name, counts in result.backends.items():
        measure.row("points in the store, with system metrics", f"{counts['points']:,}")
        measure.row(f"  in {name}", f"{counts['there']:,}")
        for kind in KINDS:
            measure.row(f"  {kind} in {name}", f"{counts[kind]:,}", "wanted 0")
    measure.row("duration", f"{seconds:.0f} s")


def main() -> int:
    """All runs; exit code 1 if any point is missing, doubled or different."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", default="mlflow", help="names, separated by commas")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--quick", action="store_true", help="6 kills")
    chosen = parser.parse_args()
    print(measure.machine())
    kills, result, chance = 6 if chosen.quick else chosen.kills, Result(), random.Random(chosen.seed)
    began = time.monotonic()
    with measure.folder() as place, backends(chosen.backend.split(","), place) as options:
        for number, done in enumerate(range(0, kills, PER_RUN)):
            torment(ChaosRun(place, number, options), min(PER_RUN, kills - done), chance, result)
            print(f"  run {number + 1}: {result.kills.total()} kills, {result.logged:,} points so far", flush=True)
    report(result, time.monotonic() - began)
    wrong = result.store.total() + sum(counts[kind] for counts in result.backends.values() for kind in KINDS)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
