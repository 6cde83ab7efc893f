"""`tracelet verify` compares backends with the store, and `tracelet sync --repair` sends what they have lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tracelet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
QUIET = {"delivery": "off", "quiet": True, "track_git": False, "track_env": False, "metrics_interval": 0.05}
BACKENDS: dict[str, dict[str, Any]] = {
    "jsonl": {}, "tensorboard": {}, "wandb": {"mode": "offline"}, "clearml": {"mode": "offline"},
    "mlflow": {"url": "sqlite:///mlflow.db"},
    **({"aim": {}} if sys.version_info < (3, 13) else {}),
}  # fmt: skip


def command(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of `tracelet ...`."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "tracelet"), *words], cwd=folder, capture_output=True, text=True,
        timeout=200, check=False, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def result(folder: Path, backend: str) -> dict[str, Any]:
    code, said = command(folder, "verify", "latest", "--backend", backend, "--json")
    found = json.JSONDecoder().raw_decode(said, said.index("{"))[0]["backends"][backend]
    assert code == (1 if found["metrics"] else 0)
    return {kind: found[kind] for kind in ("points", "there", "missing", "doubled", "different")}


def record(backend: str) -> None:
    """A run with everything that backends find hard."""
    with tracelet.start_logging("r", project="p", backend={backend: BACKENDS[backend]}, config=QUIET) as run:
        for step in range(200):
            run.log_metrics({"loss": 1.0 / (step + 1), "val/loss": float(step)}, step=step)
            run.log_metric("equal", 0.5, step=3)
        for value in (float("nan"), float("inf"), -float("inf"), -0.0, 1e-300, 0.1):
            run.log_metric("odd", value)
            run.log_metric("loss/loss", value)


def lose(folder: Path, backend: str) -> int:
    """Have the backend lose some points; how many."""
    store = folder / ".tracelet"
    if backend == "mlflow":
        with sqlite3.connect(folder / "mlflow.db") as database:
            lost = database.execute("DELETE FROM metrics WHERE key = 'loss' AND step BETWEEN 20 AND 29").rowcount
        database.close()
        return lost
    if backend == "jsonl":
        (path,) = (store / "jsonl").glob("*.jsonl")
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not ('"name":"loss"' in line and '"step":2' in line)]
        path.write_text("".join(kept))
        return len(lines) - len(kept)
    if backend == "tensorboard":
        files = [path for path in store.rglob("events.out.tfevents.*") if "hparams" not in path.name]
        for path in files:
            path.unlink()
        return -1
    if backend == "clearml":
        (path,) = store.rglob("metrics.jsonl")
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[: len(lines) // 2]))
        return -1
    assert backend == "wandb"
    (path,) = store.rglob("*.wandb")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return -1


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_what_was_delivered_is_verified(tmp_path: Path, backend: str) -> None:
    """After a delivery nothing is missing, doubled or different; what is lost afterwards is found, and repaired."""
    record(backend)
    said = command(tmp_path, "sync", "latest")
    assert said[0] == 0, said
    first = result(tmp_path, backend)
    assert first["points"] == first["there"] >= 612
    assert (first["missing"], first["doubled"], first["different"]) == (0, 0, 0)
    if backend == "aim":
        return
    lost = lose(tmp_path, backend)
    damaged = result(tmp_path, backend)
    assert damaged["missing"] == (first["points"] - damaged["there"] if lost < 0 else lost) > 0
    said = command(tmp_path, "sync", "latest", "--repair")
    assert said[0] == 0, said
    assert result(tmp_path, backend) == first


def test_doubled_and_different_points_are_told(tmp_path: Path) -> None:
    """A line that is there twice is doubled, one with another value is different; each metric has a line."""
    record("jsonl")
    command(tmp_path, "sync", "latest")
    (path,) = (tmp_path / ".tracelet" / "jsonl").glob("*.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    places = [place for place, line in enumerate(lines) if '"name":"val/loss"' in line]
    lines[places[3]] = lines[places[3]].replace('"value":3.0', '"value":4.5')
    path.write_text("".join([*lines, lines[places[7]]]))
    found = result(tmp_path, "jsonl")
    assert (found["missing"], found["doubled"], found["different"]) == (0, 1, 1)
    code, said = command(tmp_path, "verify", "latest")
    assert code == 1
    assert "val/loss: 1 doubled, 1 different (steps 3, 7)" in said


def test_what_cannot_be_read_back_is_said(tmp_path: Path) -> None:
    """A backend that cannot be read, or to which nothing was delivered, ends with exit code 2."""
    record("mlflow")
    code, said = command(tmp_path, "verify", "latest")
    assert (code, "nothing was delivered" in said) == (2, True)
    code, said = command(tmp_path, "verify", "latest", "--backend", "otlp")
    assert (code, "cannot be read back" in said) == (2, True)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "wandb"])
def test_a_lost_state_doubles_nothing(tmp_path: Path, backend: str) -> None:
    """When the notes on what was delivered are lost, everything is sent again, and nothing is there twice."""
    record(backend)
    said = command(tmp_path, "sync", "latest")
    assert said[0] == 0, said
    first = result(tmp_path, backend)
    (folder,) = (tmp_path / ".tracelet" / "runs").glob("*/delivery")
    shutil.rmtree(folder)
    said = command(tmp_path, "sync", "latest")
    assert said[0] == 0, said
    assert result(tmp_path, backend) == first
