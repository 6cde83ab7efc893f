"""`tracelet sync` and `tracelet doctor` on real runs, with a backend that does as it is told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.probes.agents import LONG, agents, control, ended_agents, environment, printed, run_folder, train, until
from tests.probes.probe_backend import lines, outcomes, points
from tracelet.agent.process.locks import holder, lock_path
from tracelet.cli import main

OFF = {"delivery": "off", "track_system": False}


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def command(tmp_path: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A `tracelet` command in the folder of the training."""
    return subprocess.run(
        [sys.executable, "-m", "tracelet", *arguments], cwd=tmp_path, env=environment(**env), text=True,
        capture_output=True, timeout=LONG * 3, check=False,
    )  # fmt: skip


def logged(count: int) -> list[list[Any]]:
    """What the training logs, as the probe has it."""
    return [["loss", step, 1.0 / (step + 1)] for step in range(count)]


def test_a_run_without_delivery_is_synced_later(tmp_path: Path) -> None:
    """`delivery="off"` sends nothing; `sync` from another folder sends all of it, and a second one nothing."""
    printed(train(tmp_path, count=12_000, config=OFF))
    assert lines(tmp_path) == []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    first = command(elsewhere, "sync", "--dir", str(tmp_path / ".tracelet"))
    assert (first.returncode, first.stderr) == (0, "")
    assert "12,000 points delivered, view at http://probe/" in first.stdout
    assert points(tmp_path) == logged(12_000)
    assert outcomes(tmp_path) == ["finished"]
    before = lines(tmp_path)
    assert command(elsewhere, "sync", "--dir", str(tmp_path / ".tracelet")).returncode == 0
    assert lines(tmp_path) == before


def test_sync_to_a_backend_that_the_run_never_had(tmp_path: Path) -> None:
    """`--backend` names another one, built in, which gets all of the run; the others are left alone."""
    printed(train(tmp_path, count=30, names=[], config=OFF))
    done = command(tmp_path, "sync", "latest", "--backend", "jsonl")
    assert done.returncode == 0, done.stderr
    assert "30 points delivered" in done.stdout
    assert command(tmp_path, "sync", "latest").stdout.startswith("nothing to deliver")


def test_a_delivery_that_only_sync_was_asked_for_stays_in_sight(tmp_path: Path) -> None:
    """What `--backend` began and could not end is listed by `doctor`, with the command that ends it."""
    printed(train(tmp_path, count=30, names=[], config=OFF))
    (tmp_path / "file").touch()
    project = tmp_path / "pyproject.toml"
    project.write_text('[tool.tracelet.jsonl]\npath = "file/below"\n')
    assert command(tmp_path, "sync", "latest", "--backend", "jsonl").returncode == 1
    found = command(tmp_path, "doctor", "--json")
    assert found.returncode == 1
    (row,) = json.loads(found.stdout)["deliveries"]
    assert row["command"] == f"tracelet sync {run_folder(tmp_path).name} --backend jsonl"
    project.unlink()
    assert command(tmp_path, *row["command"].split()[1:]).returncode == 0
    assert json.loads(command(tmp_path, "doctor", "--json").stdout)["deliveries"] == []


def test_a_run_that_may_not_be_written_to_is_not_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent that could not be noted as sent, and the reason is told; the backend is not blamed."""
    printed(train(tmp_path, count=3, config=OFF))
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    result = CliRunner().invoke(main, ["sync", "--dir", str(tmp_path / ".tracelet")])
    assert result.exit_code == 1
    assert "is not writable" in result.stderr and "Make it writable" in result.stderr
    assert points(tmp_path) == []


def test_an_unknown_backend_names_the_nearest(tmp_path: Path) -> None:
    """The error says what was probably meant, in one line."""
    printed(train(tmp_path, count=3, names=[], config=OFF))
    done = command(tmp_path, "sync", "latest", "--backend", "mlfow")
    assert done.returncode == 2
    assert "Did you mean 'mlflow'?" in done.stderr


def test_sync_leaves_a_run_to_its_agent(tmp_path: Path) -> None:
    """While an agent delivers the run, `sync` says so and touches nothing."""
    process = train(tmp_path, wait=False, count=10, end="wait")
    until(lambda: len(points(tmp_path)) == 10)
    done = command(tmp_path, "sync", "latest")
    assert done.returncode == 0
    agent = holder(lock_path(run_folder(tmp_path)))
    assert f"process {agent} is delivering it" in done.stdout
    assert {line["pid"] for line in lines(tmp_path)} == {agent}
    process.kill()
    printed(process)
    until(lambda: not agents(tmp_path))


def test_sync_of_a_run_that_goes_on_and_does_not_deliver_there(tmp_path: Path) -> None:
    """Nothing is begun beside the run's agent, which delivers elsewhere: the command for later is told, and works."""
    process = train(tmp_path, wait=False, count=10, end="wait", config={"track_system": False})
    until(lambda: len(points(tmp_path)) == 10)
    run = run_folder(tmp_path)
    done = command(tmp_path, "sync", "latest", "--backend", "jsonl")
    assert done.returncode == 1
    assert "the run is still running and this backend is not one of its own" in done.stderr and done.stdout == ""
    assert f"After the run ends, type: tracelet sync {run.name} --backend jsonl" in done.stderr
    assert not (run / "delivery" / "jsonl.json").exists()
    process.kill()
    printed(process)
    until(lambda: not agents(tmp_path))
    assert "10 points delivered" in command(tmp_path, "sync", "latest", "--backend", "jsonl").stdout


def test_a_backend_that_does_not_answer_is_given_up_after_the_patience(tmp_path: Path) -> None:
    """What is not delivered is told with the command to type, exit code 1; later the rest arrives."""
    printed(train(tmp_path, count=10, config=OFF))
    for word in ("fail", "hang"):
        control(tmp_path, word)
        done = command(tmp_path, "sync", "latest", "--patience", "1")
        assert done.returncode == 1
        assert f"To retry: tracelet sync {run_folder(tmp_path).name}" in done.stderr
    control(tmp_path, "")
    assert command(tmp_path, "sync", "latest").returncode == 0
    assert points(tmp_path) == logged(10)


def test_the_doctor_says_what_waits_and_what_to_type(tmp_path: Path) -> None:
    """Before and after `sync`: exit code, pending runs, installed packages, as text and as JSON."""
    printed(train(tmp_path, count=10, config=OFF))
    run = run_folder(tmp_path).name
    ill = command(tmp_path, "doctor", "--json")
    found = json.loads(ill.stdout)
    assert (ill.returncode, found["ok"]) == (1, False)
    (owed,) = found["deliveries"]
    assert (owed["run"], owed["backend"], owed["left"], owed["command"]) == (run, "probe", 10, f"tracelet sync {run}")
    assert {row["backend"] for row in found["installed"]} >= {"mlflow", "wandb", "clearml", "tensorboard", "aim"}
    assert f"Type: tracelet sync {run}" in command(tmp_path, "doctor").stdout
    command(tmp_path, "sync")
    well = command(tmp_path, "doctor")
    assert (well.returncode, well.stderr) == (0, "")
    assert "pending deliveries\n  none" in well.stdout


def test_the_doctor_tells_a_misconfigured_backend(tmp_path: Path) -> None:
    """What the backend said against its settings, and the fix, are told for the run."""
    control(tmp_path, "refuse")
    printed(train(tmp_path, count=10))
    ill = command(tmp_path, "doctor")
    assert ill.returncode == 1
    assert "the probe is told to refuse" in ill.stdout
    assert "Empty its control file" in ill.stdout


def test_a_key_given_anywhere_is_kept_nowhere(tmp_path: Path) -> None:
    """As option, setting, variable, in an address and in what the backend says: no file of the store has it."""
    key = "k3y-for-the-probe-9f2c"
    control(tmp_path, "leak")
    options = {"api_key": key, "url": f"https://me:{key}@example.org/x"}
    process = train(
        tmp_path, count=10, timeout=2.0, options=options, config={"api_key": key, "agent_linger": 1},
        env=environment(PROBE_API_KEY=key, TRACELET_API_KEY=key),
    )  # fmt: skip
    said = printed(process)
    until(lambda: not agents(tmp_path))
    done = command(tmp_path, "sync", "--patience", "1", TRACELET_API_KEY=key, PROBE_API_KEY=key)
    doctor = command(tmp_path, "doctor", "--json", TRACELET_API_KEY=key)
    for text in (said["stderr"], done.stdout, done.stderr, doctor.stdout, doctor.stderr):
        assert key not in text
    assert "401 for key ***" in said["stderr"]
    files = [path for path in (tmp_path / ".tracelet").rglob("*") if path.is_file()]
    assert len(files) > 4
    assert [path for path in files if key.encode() in path.read_bytes()] == []
