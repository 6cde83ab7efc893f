"""Offline runs of wandb after a crash: `tracelet sync` leaves a second folder, `wandb sync` makes one run of both."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.probes.agents import agents, ended_agents, environment, run_folder, train, until
from tests.servers.wandb_server import wandb_server
from tracelet.backends.wandb.offline_file import BLOCK, PIECE_HEADER, OfflineFile
from tracelet.store import delivery_state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
KEY = "k" * 40
BACKEND = {"wandb": {"mode": "offline", "group": "a group", "job_type": "train"}}


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def command(folder: Path, *words: str, **more: str) -> None:
    """Run a module of Python, which has to succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment(**more), capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def cut_within_a_record(path: Path) -> None:
    """What a kill may leave: the record after the last one is there in part."""
    spool = OfflineFile(path)
    spool.read()
    if not spool.incomplete:
        left = BLOCK - path.stat().st_size % BLOCK
        with path.open("ab") as file:
            file.write(bytes(left if left < PIECE_HEADER else 0) + b"cut")
    spool.read()
    assert spool.incomplete


def test_two_folders_are_one_run(tmp_path: Path) -> None:
    """Agent and training are killed within a record, the rest gets a second folder; the server has each point once."""
    process = train(
        tmp_path, wait=False, count=300, pause=0.01, end="wait", backend=BACKEND, config={"track_git": False}
    )
    folder = run_folder(tmp_path)
    until(lambda: (delivery := delivery_state.read(folder, "wandb")) and delivery.points > 50, 100)
    for agent in agents(tmp_path):
        for child in (*agent.children(recursive=True), agent):
            child.kill()
    process.kill()
    process.wait()
    (first,) = (tmp_path / ".tracelet" / "wandb").glob("offline-run-*/*.wandb")
    cut_within_a_record(first)
    command(tmp_path, "tracelet", "sync", "latest")
    places = sorted((tmp_path / ".tracelet" / "wandb").glob("offline-run-*"))
    assert len(places) == 2
    series = tracelet.open_store(tmp_path / ".tracelet").run("latest").series("loss")
    with wandb_server() as server:
        account = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}
        command(tmp_path, "wandb", "sync", "--yes", *map(str, places), **account)
        (run,) = server.runs.values()
        (name,) = server.runs
        rows = [row for row in server.history(name) if "loss" in row]
    assert [(row["trainer/global_step"], row["loss"]) for row in rows] == list(zip(series.steps, series.values))
    assert (run["group"], run["job_type"], run["exit"]) == ("a group", "train", 1)


@pytest.mark.parametrize("project", ["cv/segmentation", "p" * 130, "ok"])
def test_any_project_is_delivered(tmp_path: Path, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose name W&B rejects gets another name there, which is reported; WANDB_MODE keeps it offline."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = {"delivery": "off", "quiet": True, "track_system": False, "track_git": False, "track_env": False}
    with tracelet.start_logging("r", project=project, backend="wandb", config=config) as run:
        run.log_metric("loss", 1.0, step=2)
    monkeypatch.delenv("WANDB_MODE")
    command(tmp_path, "tracelet", "sync", "latest")
    delivery = tracelet.open_store(tmp_path / ".tracelet").run("latest").deliveries["wandb"]
    assert (delivery.state, delivery.points) == ("done", 1)
    there = delivery.renamed.get(project, project)
    assert len(there) <= 128
    assert "/" not in there
    assert (there == project) == (project == "ok")
