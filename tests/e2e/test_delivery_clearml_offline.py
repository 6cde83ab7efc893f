"""An offline session of ClearML after a crash: `tracelet sync` goes on in it, ClearML imports it whole."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.probes.agents import agents, ended_agents, environment, run_folder, train, until
from tests.servers.clearml_server import clearml_server
from tracelet.store import delivery_state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
IMPORT = "import sys; from clearml import Task; assert Task.import_offline_session(sys.argv[1])"


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def run(folder: Path, *words: str, **more: str) -> None:
    """Run Python, which has to succeed."""
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_session_that_goes_on_is_imported_whole(tmp_path: Path) -> None:
    """Training and agent are killed, the rest is added to the same session; on the server each point is there once."""
    backend = {"clearml": {"mode": "offline"}}
    process = train(
        tmp_path, wait=False, count=300, pause=0.01, end="wait", backend=backend, config={"track_git": False}
    )
    folder = run_folder(tmp_path)
    until(lambda: (delivery := delivery_state.read(folder, "clearml")) and delivery.points > 50, 100)
    for agent in agents(tmp_path):
        agent.kill()
    process.kill()
    process.wait()
    run(tmp_path, "-m", "tracelet", "sync", "latest")
    (session,) = (path for path in (tmp_path / ".tracelet" / "clearml" / "offline").iterdir() if path.is_dir())
    series = tracelet.open_store(tmp_path / ".tracelet").run("latest").series("loss")
    with clearml_server() as server:
        hosts = {f"CLEARML_{name}_HOST": server.url for name in ("API", "FILES", "WEB")}
        keys = {"CLEARML_API_ACCESS_KEY": "a" * 20, "CLEARML_API_SECRET_KEY": "s" * 40}
        run(tmp_path, "-c", IMPORT, str(session), CLEARML_CACHE_DIR=str(tmp_path / "cache"), **hosts, **keys)
        events = [event for event in server.received if event["metric"] == "loss"]
    points = sorted((event["iter"], event["value"]) for event in events)
    assert points == list(zip(series.steps, series.values))


def git(folder: Path, *words: str) -> str:
    """What git says to it in the folder."""
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_task_has_the_code_of_the_training_and_not_of_the_agent(tmp_path: Path) -> None:
    """Repository, commit, branch, uncommitted change, entry point and packages are those of the training's script."""
    git(tmp_path, "init", "-q", "-b", "topic")
    git(tmp_path, "remote", "add", "origin", "https://example.org/us/repo.git")
    script = "import tracelet\nbackend = {'clearml': {'mode': 'offline'}}\n"
    script += "with tracelet.start_logging('x', backend=backend) as run:\n    run.log_metric('loss', 1.0)\n"
    (tmp_path / "mine.py").write_text(script)
    git(tmp_path, "add", "mine.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    (tmp_path / "mine.py").write_text(script + "# changed\n")
    run(tmp_path, "mine.py")
    (path,) = (tmp_path / ".tracelet" / "clearml" / "offline").glob("*/task.json")
    task = json.loads(path.read_text(encoding="utf-8"))["script"]
    assert (task["repository"], task["branch"]) == ("https://example.org/us/repo.git", "topic")
    assert task["version_num"] == git(tmp_path, "rev-parse", "HEAD")
    assert "+# changed" in task["diff"]
    assert (task["entry_point"], task["working_dir"]) == ("mine.py", str(tmp_path))
    assert f"msgspec=={importlib.metadata.version('msgspec')}" in task["requirements"]["pip"].splitlines()
