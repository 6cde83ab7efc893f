"""A courier whose backend fails with errors of no known kind when it is opened or closed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tracelet
from tests.probes.agents import control
from tests.probes.probe_backend import ProbeBackend, outcomes, points
from tracelet.agent.delivery import backend_calls, courier
from tracelet.agent.delivery.courier import Courier
from tracelet.agent.process.configuration import BackendConfig
from tracelet.backends.base import Outcome
from tracelet.store.delivery_state import MISCONFIGURED, read

QUIET = {"delivery": "off", "quiet": True, "track_system": False, "track_git": False, "track_env": False}
PATIENCE = 20.0


class Unclosable(ProbeBackend):
    """Fails at the end of a run."""

    def close(self, outcome: Outcome | None) -> None:
        """Fail."""
        if outcome is not None:
            raise ValueError("the probe cannot close")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_calls, "MAX_UNEXPLAINED_FAILURES", 2)
    monkeypatch.setattr(backend_calls, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(courier, "ERROR_PAUSE", 0.05)


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def delivering(folder: Path, place: Path, kind: str = "ProbeBackend", follow: bool = True) -> Courier:
    module = "tests.probes.probe_backend" if kind == "ProbeBackend" else __name__
    config = BackendConfig(name="probe", reference=f"{module}:{kind}", options={"folder": str(place)})
    made = Courier(folder, config, lambda _: None, follow)
    made.start()
    return made


def test_an_unknown_error_of_open_ends_a_try_and_not_the_delivery(tmp_path: Path) -> None:
    """While the training runs, the backend is opened again: when the cause is gone, everything arrives."""
    control(tmp_path, "crash")
    with tracelet.start_logging("r", config={**QUIET, "dir": str(tmp_path / "store"), "flush_interval": 0.05}) as run:
        folder = tmp_path / "store" / "runs" / run.id
        run.log_metric("loss", 1.0, step=0)
        delivery = delivering(folder, tmp_path)
        until(lambda: (state := read(folder, "probe")) is not None and state.state == MISCONFIGURED)
        assert delivery.is_alive()
        control(tmp_path, "")
        until(lambda: points(tmp_path))
    delivery.wake()
    delivery.join(PATIENCE)
    assert not delivery.is_alive()
    assert points(tmp_path) == [["loss", 0, 1.0]]
    assert outcomes(tmp_path) == ["finished"]


def test_an_unknown_error_of_close_is_a_dead_letter(tmp_path: Path) -> None:
    """What was delivered stays delivered, and the refused end of the run is listed with its reason."""
    with tracelet.start_logging("r", config={**QUIET, "dir": str(tmp_path / "store")}) as run:
        run.log_metric("loss", 1.0, step=0)
    delivery = delivering(tmp_path / "store" / "runs" / run.id, tmp_path, "Unclosable", follow=False)
    delivery.join(PATIENCE)
    found = tracelet.open_store(tmp_path / "store").run("latest").deliveries["probe"]
    assert (found.state, found.points, found.rejected) == ("done", 1, 1)
    (letter,) = (tmp_path / "store" / "runs" / run.id).glob("delivery/probe.dead.jsonl")
    assert "the probe cannot close" in letter.read_text("utf-8")
