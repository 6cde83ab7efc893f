"""An offline session of ClearML after a crash: `tracelet sync` goes on in it, ClearML imports it whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.probes.agents import agents, ended_agents, environment, run_folder, train, until
from tests.servers.clearml_server import clearml_server
from tracelet import deliveries

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
    until(lambda: (delivery := deliveries.read(folder, "clearml")) and delivery.points > 50, 100)
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
