"""`tracelet sweep` over scripts that know nothing of it: results, early ends, killed processes, resumption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import tracelet
from tracelet.store.run import Run
from tracelet.store.store import Store
from tracelet.sweeps.study import Trial
from tracelet.sweeps.sweep_folder import Sweep, find_sweep

QUICK = {f"TRACELET_TRACK_{what}": "false" for what in ("GIT", "ENV", "SYSTEM", "SPANS")}
TRAIN = """
import argparse, os, sys, time
from torch_free_tensorboard import SummaryWriter
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--width", type=int, default=1)
parser.add_argument("--fail", type=int, default=0)
options = parser.parse_args()
with open("starts.txt", "a") as file:
    print(options.lr, options.width, file=file)
if options.fail and not os.path.exists("failed-once"):
    open("failed-once", "w").close()
    raise RuntimeError("no luck")
for step in range(int(os.environ.get("STEPS", 3))):
    tracelet.log({"loss": options.lr + 1 / (step + 1)}, step)
    time.sleep(float(os.environ.get("PAUSE", 0)))
""".replace("from torch_free_tensorboard import SummaryWriter", "import tracelet")
CONFIG = """
program: train.py
method: grid
metric: {name: loss}
parameters:
  lr: {values: [0.3, 0.1, 0.2]}
  width: {values: [1, 2]}
"""


def written(folder: Path, config: str = CONFIG, program: str = TRAIN) -> None:
    """A script and a configuration in the folder."""
    (folder / "train.py").write_text(textwrap.dedent(program), encoding="utf-8")
    (folder / "sweep.yaml").write_text(config, encoding="utf-8")


def environment(**more: str) -> dict[str, str]:
    """That of the tests, with little recording."""
    return {**os.environ, **QUICK, **more}


def command(*arguments: str) -> list[str]:
    """A command of `tracelet sweep`."""
    return [sys.executable, "-m", "tracelet", "sweep", *arguments]


def execute(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `tracelet sweep` to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(**more), timeout=120, check=False
    )


def sweep() -> Sweep:
    """The newest sweep here."""
    return find_sweep(Store.open())


def trials() -> list[Trial]:
    """Its trials."""
    return sweep().study().trials()


def runs() -> dict[int, Run]:
    """The run of each trial's last attempt."""
    found = ((trial.number, sweep().run(trial)) for trial in trials())
    return {number: run for number, run in found if run is not None}


def eventually(reached: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := reached()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


def starts() -> list[str]:
    """The arguments of each start of the script, in order."""
    path = Path("starts.txt")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def running_trials() -> list[psutil.Process]:
    """The processes of trials that run in this folder, with their controllers' ends or without."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if "train.py" in words and process.info["cwd"] == str(Path.cwd()):
            found.append(process)
    return found


def test_a_grid_runs_every_point_once(tmp_path: Path) -> None:
    """Six points by two workers: each is one run of the sweep's group with its parameters, and all commands show it."""
    written(tmp_path)
    done = execute("sweep.yaml", "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert Counter(starts()) == Counter(f"{lr} {width}" for lr in (0.1, 0.2, 0.3) for width in (1, 2))
    assert [trial.status for trial in trials()] == ["finished"] * 6
    assert [(trial.values["lr"], trial.values["width"]) for trial in trials()] == [
        (lr, width) for lr in (0.3, 0.1, 0.2) for width in (1, 2)
    ]
    for number, run in runs().items():
        assert (run.info.status, run.info.name) == ("finished", f"train-{number}")
        assert run.tags == {"group": "train", "sweep": sweep().id, "trial": str(number)}
        assert {name: run.params[name] for name in ("lr", "width")} == trials()[number].values
        assert trials()[number].metric == min(run.series("loss").values)
    best = json.loads(execute("best", "--json").stdout)
    assert best["params"]["lr"] == 0.1
    assert best["command"].endswith("train.py --lr=0.1 --width=1")
    shown = json.loads(execute("show", "--json").stdout)
    assert (shown["ended"], len(shown["trials"]), set(shown["importance"])) == (6, 6, {"lr", "width"})
    assert "best" in execute("ls").stdout


def test_trials_without_a_result_say_why(tmp_path: Path) -> None:
    """A script that fails, one that logs another metric, and a failing one that may run again."""
    config = CONFIG.replace("{values: [1, 2]}", "{value: 1}").replace("name: loss", "name: val_loss")
    written(tmp_path, config)
    done = execute("sweep.yaml", "--count", "1")
    assert done.returncode == 1
    assert trials()[0].status == "failed"
    assert "did not log 'val_loss'; did you mean 'loss'?" in done.stdout
    written(
        tmp_path, CONFIG.replace("{values: [1, 2]}", "{value: 1}").replace("  width", "  fail: {value: 1}\n  width")
    )
    done = execute("sweep.yaml", "--count", "2")
    assert [trial.status for trial in trials()] == ["failed", "finished"]
    assert trials()[0].reason == "RuntimeError: no luck"
    Path("failed-once").unlink()
    execute("sweep.yaml", "--count", "2", "--retry", "1")
    assert [(trial.status, trial.attempt) for trial in trials()] == [("finished", 1), ("finished", 0)]
    assert execute("sweep.yaml", "--config", "nonsense=1").returncode == 2
    (tmp_path / "train.py").unlink()
    assert "the program 'train.py' is not in" in execute("sweep.yaml").stderr


def test_an_unpromising_trial_is_pruned(tmp_path: Path) -> None:
    """Beside two good trials that log more values, the worst one is stopped by SIGTERM and is pruned, also as a run."""
    config = CONFIG.replace("[0.3, 0.1, 0.2]", "[0.1, 0.2, 30]").replace("{values: [1, 2]}", "{value: 1}")
    written(tmp_path, config + "early_terminate: {type: hyperband, min_iter: 2, eta: 3}\n")
    done = execute("sweep.yaml", "--workers", "3", STEPS="200", PAUSE="0.1")
    assert [trial.status for trial in trials()][2] == "pruned", done.stdout
    run = runs()[2]
    assert run.info.status == "pruned"
    assert run.info.reason.startswith("loss 30")
    assert len(run.series("loss")) < 200
    assert any(trial.status == "finished" for trial in trials())
    assert [one.id for one in tracelet.open_store().runs(status="pruned")][-1:] != []


def test_a_killed_controller_loses_no_trial_and_repeats_none(tmp_path: Path) -> None:
    """After SIGKILL of the controller its trials run on; `resume` adopts them, and every point ran exactly once."""
    written(tmp_path)
    first = subprocess.Popen(
        command("sweep.yaml", "--workers", "2"), env=environment(STEPS="4", PAUSE="0.4"), stdout=subprocess.DEVNULL
    )
    eventually(lambda: len(starts()) >= 3)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert len(running_trials()) == 2
    resumed = execute("resume", "--workers", "2", STEPS="2")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "runs on, and is watched here now" in resumed.stdout
    assert len(starts()) == 6
    assert Counter(starts()) == Counter(f"{lr} {width}" for lr in (0.1, 0.2, 0.3) for width in (1, 2))
    assert [trial.status for trial in trials()] == ["finished"] * 6


def test_a_killed_trial_is_reported_and_a_stopped_sweep_resumes(tmp_path: Path) -> None:
    """A trial killed by SIGKILL has failed; after `stop` the interrupted ones run again, and no other."""
    written(tmp_path, CONFIG.replace("{values: [1, 2]}", "{value: 1}"))
    controller = subprocess.Popen(
        command("sweep.yaml"), env=environment(STEPS="50", PAUSE="0.3"), stdout=subprocess.PIPE, text=True
    )
    eventually(starts)
    eventually(lambda: any(run.metrics() for run in runs().values()))
    (trial,) = running_trials()
    trial.kill()
    eventually(lambda: len(starts()) == 2)
    assert trials()[0].status == "failed"
    assert "killed" in trials()[0].reason
    assert execute("stop").returncode == 0
    assert controller.communicate(timeout=60)[0]
    assert running_trials() == []
    assert [trial.status for trial in trials()] == ["failed", "running", "waiting"]
    assert "interrupted" in execute("show").stdout
    execute("resume", STEPS="2")
    assert [(trial.status, trial.attempt) for trial in trials()] == [("failed", 0), ("finished", 1), ("finished", 0)]
    assert len(starts()) == 4


@pytest.mark.parametrize("wrong", [["missing.yaml"], ["resume"], ["show", "nothing"], ["best"]])
def test_what_is_not_there_is_an_error(wrong: list[str]) -> None:
    """One line on stderr and exit code 2."""
    done = execute(*wrong)
    assert done.returncode == 2
    assert done.stderr.startswith("tracelet: ")
    assert len(done.stderr.splitlines()) == 1
