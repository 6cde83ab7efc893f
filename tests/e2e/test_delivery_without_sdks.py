"""A run made where no SDK is installed is synced later where they are."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.probes.agents import LONG, ROOT, agents, ended_agents, environment, printed, train, until

pytestmark = pytest.mark.slow
BARE = """
import sys
from importlib.abc import MetaPathFinder

class Bare(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("mlflow", "wandb", "clearml", "tensorboard", "aim"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Bare())
"""
"""As `sitecustomize`: this Python, the agent's too, has none of the SDKs."""


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


@pytest.mark.parametrize("delivery", ["agent", "off"])
def test_a_run_without_any_sdk_is_synced_where_they_are(delivery: str, tmp_path: Path) -> None:
    """The training ends well and says what to install; `tracelet sync` then delivers every point to every backend."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(BARE)
    offline = {"mode": "offline"}
    backends: dict[str, object] = {
        "mlflow": {"url": f"sqlite:///{tmp_path}/mlflow.db"}, "wandb": offline, "clearml": offline, "tensorboard": {},
    }  # fmt: skip
    if importlib.util.find_spec("aim"):  # no packages for every Python
        backends["aim"] = {}
    bare = environment(PYTHONPATH=f"{tmp_path / 'bare'}:{ROOT}")
    said = printed(train(tmp_path, env=bare, count=50, backend=backends, config={"delivery": delivery}))
    until(lambda: not agents(tmp_path))
    run = tracelet.open_store(tmp_path / ".tracelet").run("latest")
    if delivery == "agent":
        assert {name: found.state for name, found in run.deliveries.items()} == dict.fromkeys(backends, "misconfigured")
        assert "pip install '.[mlflow]'" in said["stderr"]
    done = subprocess.run(
        [sys.executable, "-m", "tracelet", "sync", "latest"], cwd=tmp_path, env=environment(), capture_output=True,
        text=True, timeout=LONG * 5, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = tracelet.open_store(tmp_path / ".tracelet").run("latest")
    assert {name: found.state for name, found in run.deliveries.items()} == dict.fromkeys(backends, "done")
    assert {name: found.points >= 50 for name, found in run.deliveries.items()} == dict.fromkeys(backends, True)
    (path,) = tmp_path.glob(".tracelet/clearml/offline/*/metrics.jsonl")
    assert path.read_text().count('"loss"') >= 50
