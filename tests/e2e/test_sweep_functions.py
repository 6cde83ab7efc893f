"""Sweeps over functions: `tracelet.sweep()`, and `wandb.sweep` with `wandb.agent` in a program without an account."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tracelet.errors import SweepError
from tracelet.integrations.wandb.local_sweeps import has_account
from tracelet.store.store import Store
from tracelet.sweeps.sweep_folder import find_sweep

QUIET: dict[str, Any] = {
    "quiet": True, "track_git": False, "track_env": False, "track_system": False, "delivery": "off"
}  # fmt: skip
GRID: dict[str, Any] = {"method": "grid", "metric": {"name": "loss"}, "parameters": {"x": {"values": [1, 2, 3]}}}
WANDB = """
import wandb

sweep_id = wandb.sweep(
    {"method": "grid", "metric": {"name": "loss"},
     "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}, "net": {"parameters": {"width": {"value": 8}}}}},
    project="run_sweep",
)

def train():
    with wandb.init(config={"lr": 9.0, "epochs": 2}) as run:
        for epoch in range(run.config.epochs):
            wandb.log({"loss": wandb.config["lr"] + 1 / (epoch + 1)})
        assert wandb.config.net == {"width": 8}, dict(wandb.config)
        if wandb.config.lr == 0.2:
            raise ValueError("twenty percent")

wandb.agent(sweep_id, function=train, count=10)
import os
assert not [name for name in os.environ if name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_MODE")]
"""


def test_each_trial_of_a_function_is_a_run() -> None:
    """A grid over a function that logs and one that returns its result: runs, parameters, tags and the best trial."""

    def train(parameters: dict[str, Any]) -> float | None:
        tracelet.log({"other": 1.0})
        if parameters["x"] == 3:
            raise ValueError("three")
        return float(parameters["x"])

    found = tracelet.sweep(GRID, train, settings=QUIET)
    assert [trial.status for trial in found.trials] == ["finished", "finished", "failed"]
    assert found.trials[2].reason == "ValueError: three"
    assert found.best is not None
    assert (found.best.values, found.best.metric) == ({"x": 1}, 1.0)
    runs = {run.info.name: run for run in tracelet.open_store().runs()}
    assert {name: run.info.status for name, run in runs.items()} == {
        "train-0": "finished", "train-1": "finished", "train-2": "failed"
    }  # fmt: skip
    assert runs["train-1"].tags == {"group": "train", "sweep": found.id, "trial": "1"}
    assert runs["train-1"].params["x"] == 2
    assert runs["train-1"].series("loss").values.tolist() == [2.0]
    assert tracelet.get_active_experiment() is None


def test_an_unpromising_function_is_ended() -> None:
    """After better trials, the function is stopped by an exception at its next line; its run is pruned."""
    steps = []

    def train(parameters: dict[str, Any]) -> None:
        for step in range(300):
            tracelet.log({"loss": parameters["x"] + 1 / (step + 1)}, step)
            if parameters["x"] == 3:
                steps.append(step)
                time.sleep(0.02)

    config = {**GRID, "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 3}}
    found = tracelet.sweep(config, train, settings=QUIET)
    assert [trial.status for trial in found.trials] == ["finished", "finished", "pruned"]
    assert len(steps) < 300
    assert tracelet.open_store().run("train-2").info.status == "pruned"


def test_a_sweep_over_a_wrong_function_ends() -> None:
    """After three failures at the start the exception is the caller's; wrong arguments raise before anything starts."""

    def train(parameters: dict[str, Any]) -> None:
        raise KeyError("width")

    with pytest.raises(KeyError, match="width"):
        tracelet.sweep({**GRID, "parameters": {"x": {"min": 1, "max": 9}}}, train, settings=QUIET)
    assert len(tracelet.open_store().runs()) == 3
    with pytest.raises(SweepError, match="has no end"):
        tracelet.sweep({**GRID, "method": "random"}, train)
    with pytest.raises(SweepError, match="runs a function"):
        tracelet.sweep(GRID, 3)  # type: ignore[arg-type]
    with tracelet.start_logging("active", config=QUIET), pytest.raises(SweepError, match="a run is active"):
        tracelet.sweep(GRID, train)


def test_an_interrupted_sweep_of_a_function_resumes() -> None:
    """A Ctrl-C in the second trial passes on to the program; with `resume` that trial runs again, and no other."""
    calls: list[int] = []

    def train(parameters: dict[str, Any]) -> float:
        calls.append(parameters["x"])
        if calls == [1, 2]:
            raise KeyboardInterrupt
        return float(parameters["x"])

    with pytest.raises(KeyboardInterrupt):
        tracelet.sweep(GRID, train, settings=QUIET)
    found = tracelet.sweep(GRID, train, settings=QUIET, resume="latest")
    assert calls == [1, 2, 2, 3]
    assert [(trial.status, trial.attempt) for trial in found.trials] == [
        ("finished", 0), ("finished", 1), ("finished", 0)
    ]  # fmt: skip


def run_program(folder: Path, *start: str, code: str = WANDB, **more: str) -> subprocess.CompletedProcess[str]:
    """A program that uses wandb, without an account and without a network."""
    (folder / "program.py").write_text(textwrap.dedent(code), encoding="utf-8")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("WANDB_API", "WANDB_IDENTITY"))
    }
    settings = {f"TRACELET_{name.upper()}": str(value) for name, value in QUIET.items() if name != "quiet"}
    return subprocess.run(
        [sys.executable, *start, "program.py"], capture_output=True, text=True, timeout=200, check=False,
        env={**environment, **settings, "HOME": str(folder), "WANDB_SILENT": "true", "https_proxy": "http://127.0.0.1:9",
             **more},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("start", ["tracelet run", "start_logging"])
def test_a_wandb_sweep_runs_here_without_an_account(tmp_path: Path, start: str) -> None:
    """The unchanged program's trials get their parameters from `wandb.config`, and each is a run of its own."""
    if start == "tracelet run":
        done = run_program(tmp_path, "-m", "tracelet", "run")
    else:
        code = "import tracelet; tracelet.start_logging('program')\n" + WANDB
        done = run_program(tmp_path, code=code, PYTHONPATH=str(Path(tracelet.__file__).parents[1]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("wandb has no account here") == 1
    sweep = find_sweep(Store.open())
    trials = sweep.study().trials()
    assert [trial.status for trial in trials] == ["finished", "failed", "finished"]
    assert trials[1].reason == "ValueError: twenty percent"
    assert [trial.metric for trial in trials] == [0.1 + 0.5, 0.2 + 0.5, 0.3 + 0.5]
    runs = {run.info.name: run for run in tracelet.open_store().runs()}
    assert sorted(runs) == ["program-0", "program-1", "program-2"]
    for number, rate in enumerate((0.1, 0.2, 0.3)):
        run = runs[f"program-{number}"]
        assert run.series("loss").values.tolist() == [rate + 1, rate + 0.5]
        assert (run.params["lr"], run.params["net/width"], run.params["epochs"]) == (rate, 8, 2)
        assert run.tags["sweep"] == sweep.id
        assert run.info.status == ("failed" if number == 1 else "finished")


def test_with_the_setting_off_wandb_is_asked(tmp_path: Path) -> None:
    """`wandb_sweeps=off` leaves the sweep to wandb, which has no key and says so."""
    done = run_program(tmp_path, "-m", "tracelet", "run", "--config", "wandb_sweeps=off")
    assert done.returncode == 1
    assert "No API key configured" in done.stderr


def test_an_account_is_found_where_wandb_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment, or in the netrc file for the server that is used."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "NETRC", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert not has_account()
    (tmp_path / ".netrc").write_text("machine wandb.example login user password secret\n", encoding="ascii")
    assert not has_account()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example:8080")
    assert has_account()
    monkeypatch.setenv("NETRC", str(tmp_path / "missing"))
    assert not has_account()
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert has_account()
