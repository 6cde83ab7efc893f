"""Alerts, from a training over the agent and apprise to a webhook on loopback: each once, after an outage too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.probes.agents import LONG, ROOT, agents, ended_agents, until
from tests.servers.stand_in import StandIn, serving
from tracelet.errors import InvalidArgument, SettingsError

pytest.importorskip("apprise")
PROGRAM = """
import time, sys
import tracelet
with tracelet.start_logging("noisy", config={"track_system": False, "track_git": False, "track_env": False}):
    tracelet.alert("disk is nearly full", "5 GB left", level="warning")
    for step in range(50):
        tracelet.log({"loss": float("nan") if step == 20 else 1.0 / (step + 1), "accuracy": step / 50}, step=step)
    raise RuntimeError("broken")
"""
RULES = "failed, finished, nan, accuracy>0.5, loss<0.001"


class Webhook(StandIn):
    """Takes apprise's JSON; refuses while `status` is not 200."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[tuple[str, str, str]] = []
        self.refused = 0
        self._lock = threading.Lock()

    def reply(self, method: str, path: str, body: bytes) -> object:
        """Remember the message."""
        message = json.loads(body)
        with self._lock:
            if self.status == 200:
                self.received.append((message["title"], message["message"], message["type"]))
            else:
                self.refused += 1
        return {}


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """The receiver."""
    with serving(Webhook()) as found:
        yield found


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def _run(folder: Path, webhook: Webhook) -> None:
    """The program, in the folder; it fails, as it should."""
    port = webhook.server_address[1]
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "TRACELET_DELIVERY": "agent", "TRACELET_QUIET": "1",
        "TRACELET_DIR": str(folder / ".tracelet"), "TRACELET_ALERTS": f"json://user:s3cretword@127.0.0.1:{port}/hook",
        "TRACELET_ALERT_RULES": RULES,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=folder, capture_output=True, timeout=LONG * 3, check=False
    )
    assert b"RuntimeError: broken" in done.stderr
    assert b"Traceback" in done.stderr


EXPECTED = {
    ("noisy: disk is nearly full", "5 GB left", "warning"), ("noisy: loss is nan", "at step 20", "failure"),
    ("noisy: accuracy is above 0.5", "0.52 at step 26", "warning"),
    ("noisy: failed", "RuntimeError: broken", "failure"),
}  # fmt: skip


@pytest.mark.slow
def test_each_alert_is_sent_once(tmp_path: Path, webhook: Webhook) -> None:
    """The program's own, those of the rules, and the end of the run; no address is written anywhere."""
    _run(tmp_path, webhook)
    until(lambda: not agents(tmp_path))
    assert sorted(webhook.received) == sorted(EXPECTED)
    (folder,) = (tmp_path / ".tracelet" / "runs").iterdir()
    assert [path.name for path in folder.iterdir() if path.is_file() and b"s3cretword" in path.read_bytes()] == []
    assert [
        event.attributes["title"] for event in tracelet.open_store(tmp_path / ".tracelet").runs()[0].events("alert")
    ]


@pytest.mark.slow
def test_an_outage_delays_alerts_and_doubles_none(tmp_path: Path, webhook: Webhook) -> None:
    """While the receiver refuses them the agent keeps them, tries again, and leaves when all have arrived."""
    webhook.status = 503
    _run(tmp_path, webhook)
    until(lambda: webhook.refused >= 2)
    assert webhook.received == []
    webhook.status = 200
    until(lambda: not agents(tmp_path))
    assert sorted(webhook.received) == sorted(EXPECTED)


def test_arguments_and_rules_without_a_meaning_are_errors() -> None:
    """Each error says what to write; without a run nothing happens."""
    tracelet.alert("nobody listens")
    with tracelet.start_logging("checked", config={"quiet": True, "track_system": False}):
        with pytest.raises(InvalidArgument, match="one of info, warning, error"):
            tracelet.alert("title", level="fatal")
        with pytest.raises(InvalidArgument, match="needs a title"):
            tracelet.alert("")
    for wrong in ("fail", "stalled:", "loss>", ">3", "loss>high"):
        with pytest.raises(SettingsError, match="expected rules such as"):
            tracelet.start_logging("wrong", config={"alert_rules": wrong})
