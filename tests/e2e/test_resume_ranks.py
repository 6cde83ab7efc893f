"""Runs of two ranks that are killed and go on, found again by their job, and by whatever delivers to three backends."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.contract import test_backend_clearml as clearml
from tests.contract import test_backend_tensorboard as tensorboard
from tests.contract import test_backend_wandb as wandb
from tests.environments import lightning_python
from tests.probes.agents import agents, ended_agents, environment, until
from tracelet.backends.base import RunDescription
from tracelet.session.resume import job_key
from tracelet.store.run import Run
from tracelet.testing import BackendConformance, Delivered

RANK = """
import os, sys, time, tracelet
run = tracelet.start_logging("a run", project="ranks", config=dict(
    track_system=False, track_git=False, track_env=False, quiet=True, rank_deadline=5.0, stop_timeout=200.0))
port, ranks = os.environ.get("MASTER_PORT", ""), range(int(os.environ.get("WORLD_SIZE", "1")))
open(f"{port}-{os.environ['RANK']}", "w").close()
while not all(os.path.exists(f"{port}-{rank}") for rank in ranks):
    time.sleep(0.02)  # ranks that train together wait for each other
for step in range(int(sys.argv[1]), int(sys.argv[2])):
    run.log_metric("m", float(step + int(os.environ["RANK"])), step)
run.flush()
if sys.argv[3:]:
    print("ready", flush=True)
    time.sleep(600)
tracelet.stop_logging()
"""
PROJECT = """
[tool.tracelet]
backend = "wandb,clearml,tensorboard"
[tool.tracelet.wandb]
mode = "offline"
[tool.tracelet.clearml]
mode = "offline"
"""
BACKENDS = ("wandb", "clearml", "tensorboard")


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def launch(number: int, delivery: str, *arguments: str) -> list[subprocess.Popen[bytes]]:
    """Two ranks, as torchrun starts them the nth time."""
    ranks = []
    for rank in ("0", "1"):
        torchrun = {
            "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
            "TORCHELASTIC_RUN_ID": "job-1", "MASTER_ADDR": "localhost", "MASTER_PORT": str(29500 + number),
            "TRACELET_RESUME": "auto", "TRACELET_DELIVERY": delivery,
        }  # fmt: skip
        ranks.append(subprocess.Popen(
            [sys.executable, "-c", RANK, *arguments], env=environment(**torchrun), stdout=subprocess.PIPE
        ))  # fmt: skip
    return ranks


def kill(ranks: list[subprocess.Popen[bytes]]) -> None:
    """Once they have logged everything."""
    for rank in ranks:
        assert rank.stdout is not None
        assert rank.stdout.readline() == b"ready\n"
    until(lambda: all(delivery.points for delivery in only_run().deliveries.values()) and only_run().deliveries, 90.0)
    for rank in ranks:
        rank.send_signal(signal.SIGKILL)
        rank.communicate()


def only_run() -> Run:
    """The one run there is."""
    (run,) = tracelet.open_store().runs()
    return run


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the SDKs
def test_each_backend_goes_on_with_its_run(tmp_path: Path) -> None:
    """Delivered by an agent, by threads, by an agent; killed and resumed: one remote run, each point once."""
    Path("pyproject.toml").write_text(PROJECT, encoding="utf-8")
    kill(launch(0, "agent", "0", "50", "wait"))
    kill(launch(1, "inline", "40", "70", "wait"))
    kill(launch(2, "inline", "65", "90", "wait"))
    for rank in launch(3, "agent", "80", "120"):
        rank.communicate(timeout=240)
        assert rank.returncode == 0
    until(lambda: not agents(tmp_path), 120.0)
    run = only_run()
    assert (run.info.status, run.problems) == ("finished", [])
    assert sorted((one.started.rank, one.started.branch) for one in run.processes) == [
        (rank, branch) for rank in range(2) for branch in range(4)
    ]  # fmt: skip
    expected = [(step, step + 0.5) for step in range(120)]
    series = run.series("m")
    assert list(zip(series.steps.tolist(), series.values.tolist())) == expected
    assert {name: delivery.state for name, delivery in run.deliveries.items()} == dict.fromkeys(BACKENDS, "done")
    for name, read in (("wandb", wandb.read), ("clearml", clearml.read), ("tensorboard", tensorboard.read)):
        found = read(described(run, tmp_path))
        assert sorted((int(step), float(value)) for step, value, _ in found.series["m"]) == expected, name


def described(run: Run, folder: Path) -> RunDescription:
    """What the readers of the contract tests want to know."""
    return dataclasses.replace(
        BackendConformance(lambda: None, lambda run: Delivered(), folder).description(),  # type: ignore[arg-type, return-value]
        id=run.id, project="ranks", artifacts_folder=run.path / "artifacts",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        ({"SLURM_JOB_ID": "7"}, "slurm:7:"),
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2", "SLURM_RESTART_COUNT": "1"}, "slurm:7:2"),
        ({"SLURM_JOB_ID": "7", "TORCHELASTIC_RUN_ID": "x"}, "slurm:7:"),
        ({"TORCHELASTIC_RUN_ID": "mine"}, "torchrun:mine:"),
        ({"TORCHELASTIC_RUN_ID": "none"}, ""),
        ({"LSB_JOBID": "12"}, "lsf:12:"),
        ({"PBS_JOBID": "12.host"}, "pbs:12.host:"),
        ({}, ""),
    ],
)
def test_which_job_this_is(environ: dict[str, str], key: str) -> None:
    """What a cluster or torchrun keeps when it starts a job again, and nothing where there is no such job."""
    assert job_key(environ) == key


@pytest.mark.parametrize("variable", ["LSB_JOBID", "PBS_JOBID"])
def test_a_job_of_lsf_or_pbs_that_is_started_again_resumes_its_run(variable: str) -> None:
    """A job's start that was killed and its restart are one run; what starts after it has finished is another run."""
    for job, first, killed in (("7", "0", True), ("7", "3", False), ("7", "6", False), ("8", "9", False)):
        started = subprocess.Popen(
            [sys.executable, "-c", RANK, first, str(int(first) + 3), *["wait"] * killed], stdout=subprocess.PIPE,
            env=environment(**{variable: job, "RANK": "0", "TRACELET_RESUME": "auto"}),
        )  # fmt: skip
        if killed:
            assert started.stdout is not None
            assert started.stdout.readline() == b"ready\n"
            started.kill()
        started.communicate(timeout=60)
        assert started.returncode == (-signal.SIGKILL if killed else 0)
    steps = sorted(run.series("m").steps.tolist() for run in tracelet.open_store().runs())
    assert steps == [[0, 1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11]]


@pytest.mark.slow
def test_without_a_job_the_checkpoint_on_the_command_line_tells() -> None:
    """`auto` goes on with the run that wrote the checkpoint, however it is named; a start without one is a new run."""
    training = Path(__file__).parent.parent / "probes" / "interrupted.py"
    settings = {"TRACELET_RESUME": "auto", "TRACELET_QUIET": "1", "EVERY": "5", "OMP_NUM_THREADS": "1"}
    last = "checkpoints/last.ckpt"
    for steps, arguments in (("5", []), ("10", ["--ckpt_path", last]), ("15", [f"trainer.ckpt={last}"])):
        subprocess.run(
            [lightning_python(), str(training), "auto", "1", *arguments], check=True, timeout=120, capture_output=True,
            env={**os.environ, **settings, "STEPS": steps},
        )  # fmt: skip
    run = only_run()
    assert run.series("loss").steps.tolist() == list(range(15))
    assert [one.started.branch for one in run.processes] == [0, 1, 2]
    assert run.info.resumed_from == ""
