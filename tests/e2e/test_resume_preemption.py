"""A training that is preempted, killed and started again is one run: a series without gap or repetition, everywhere."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
import requests

import tracelet
from tests.environments import lightning_python
from tests.servers.mlflow_server import mlflow_server
from tracelet.store.run import Run

STEPS = 60
TRAINING = Path(__file__).parent.parent / "probes" / "interrupted.py"
SETTINGS = {
    "TRACELET_QUIET": "1", "TRACELET_DELIVERY": "off", "TRACELET_TRACK_SYSTEM": "0", "TRACELET_TRACK_GIT": "0",
    "TRACELET_TRACK_ENV": "0", "OMP_NUM_THREADS": "1", "STEPS": str(STEPS), "EVERY": "10",
}  # fmt: skip


def start(**environment: str) -> subprocess.Popen[bytes]:
    """Begin, or resume, the training; its environment has the backend's SDK."""
    sdk = [name for name in (environment.get("TRACELET_BACKEND"),) if name]
    with open("output.txt", "ab") as log:
        return subprocess.Popen(
            [lightning_python(*sdk), str(TRAINING)],
            stdout=log,
            stderr=log,
            env={**os.environ, **SETTINGS, **environment},
        )


def stop_somewhere(process: subprocess.Popen[bytes], number: int, least: int) -> None:
    """Send a signal at a random step, once `least` steps more are on disk."""
    deadline = time.monotonic() + 120
    target = least + random.Random(os.getpid()).randrange(5)
    while process.poll() is None and time.monotonic() < deadline:
        runs = tracelet.open_store().runs()
        if runs and "loss" in runs[0].metrics() and runs[0].series("loss").steps[-1] >= target:
            break
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(60)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Let it come to its end."""
    assert process.wait(120) == 0, Path("output.txt").read_text(encoding="utf-8")


def only_run() -> Run:
    """The one run that there is."""
    (run,) = tracelet.open_store().runs()
    return run


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_run_that_is_stopped_and_resumed_again_and_again_is_one_run(how: str) -> None:
    """Two stops at random steps, with and without a rollback: each step once, the abandoned ones still to be read."""
    job = {"SLURM_JOB_ID": "77", "TRACELET_RESUME": "auto", "KEEP": "1" if how == "SIGTERM" else ""}
    number = signal.Signals[how]
    stop_somewhere(start(**job), number, 12)
    stopped = only_run()
    assert stopped.info.status == ("preempted" if how == "SIGTERM" else "killed")
    first_end = int(stopped.series("loss").steps[-1])
    resumed = start(**job)
    stop_somewhere(resumed, number, 32)
    finish(start(**job))
    run = only_run()
    assert (run.info.status, run.problems) == ("finished", [])
    series = run.series("loss")
    assert series.steps.tolist() == list(range(STEPS))
    assert [view.started.branch for view in run.views if view.started] == [0, 1, 2]
    assert run.series("loss", branch=0).steps.tolist() == list(range(first_end + 1))
    counted = run.series("count").steps.tolist()
    assert counted == list(range(len(counted)))
    assert len(counted) >= STEPS


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mlflow_shows_each_step_once(tmp_path: Path) -> None:
    """Preempted, resumed, killed with a rollback, resumed: one remote run, no step missing, none twice."""
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server") as server:
        job = {"TRACELET_RUN_ID": "mine", "TRACELET_BACKEND": "mlflow", "TRACELET_DELIVERY": "agent",
               "TRACELET_BACKEND_URL": server.url, "KEEP": "1"}  # fmt: skip
        stop_somewhere(start(**job), signal.SIGTERM, 12)
        stop_somewhere(start(**job), signal.SIGKILL, 37)
        finish(start(**job))
        assert only_run().deliveries["mlflow"].state == "done"
        found = requests.post(
            f"{server.url}/api/2.0/mlflow/runs/search", timeout=30,
            json={"experiment_ids": [str(n) for n in range(3)], "filter": "tags.`tracelet.run_id` = 'mine'"},
        ).json()["runs"]  # fmt: skip
        assert len(found) == 1
        history = requests.get(
            f"{server.url}/api/2.0/mlflow/metrics/get-history", timeout=30,
            params={"run_id": found[0]["info"]["run_id"], "metric_key": "loss", "max_results": "1000"},
        ).json()["metrics"]  # fmt: skip
    assert Counter(int(point["step"]) for point in history) == Counter(range(STEPS))


@pytest.mark.slow
def test_a_run_that_grows_out_of_another_ones_checkpoint_says_so() -> None:
    """Started anew with a checkpoint of an earlier run: a run of its own, which names the one that it came from."""
    stop_somewhere(start(), signal.SIGKILL, 12)
    parent = only_run().id
    finish(start())
    child = tracelet.open_store().run("latest")
    assert child.id != parent
    assert child.info.resumed_from == parent
    (event,) = child.events("training_resumed")
    # The kill comes at some step after the one seen: which checkpoint was the last depends on the machine.
    assert event.attributes["step"] == child.series("loss").steps[0] in range(10, STEPS, 10)


def test_resuming_by_name_by_id_and_in_vain() -> None:
    """`resume` takes what names a run, `run_id` a new id or one that is there; an unknown run is an error."""
    from tracelet.errors import RunNotFound, SettingsError

    with tracelet.start_logging("a", run_id="my-run") as run:
        run.log_metric("m", 1.0)
    assert run.id == "my-run"
    with tracelet.start_logging("a", resume="my-run") as run:
        run.log_metric("m", 2.0)
    with tracelet.start_logging("a", run_id="my-run") as run:
        run.log_metric("m", 3.0)
    found = only_run()
    assert found.series("m").steps.tolist() == [0, 1, 2]
    assert found.series("m", branch=1).values.tolist() == [1.0, 2.0]
    with pytest.raises(RunNotFound):
        tracelet.start_logging("a", resume="nonsense")
    with pytest.raises(RunNotFound):
        tracelet.start_logging("a", run_id="another", resume="nonsense")
    with pytest.raises(SettingsError, match="name different runs"):
        tracelet.start_logging("a", run_id="another", resume="my-run")
    with pytest.raises(SettingsError, match="run_id"):
        tracelet.start_logging("a", run_id="../x")
    assert tracelet.get_active_experiment() is None
