"""Runs recorded by tracelet itself, and the dashboard's API over them, without a server or pages."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import tracelet
from tracelet.store.run import Run
from tracelet.ui.api.application import Service, application
from tracelet.ui.security import AccessControl, AccessRules

BARE = {f"track_{name}": False for name in ("lightning", "tensorboard", "system", "git", "env", "spans")}
"""Nothing but what the test logs."""
OURS = {"X-Tracelet": "1"}

Record = Callable[..., Run]


@pytest.fixture(autouse=True)
def _own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pins go into a folder of the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def record() -> Record:
    """Record a run in the default store: `record("name", {"loss": [1.0, 0.5]}, params={...})`."""

    def make(name: str, metrics: Mapping[str, list[float]] | None = None, **given: Any) -> Run:
        given.setdefault("config", {**BARE, "quiet": True})
        artifact = given.pop("artifact", None)
        with tracelet.start_logging(name, **given) as experiment:
            for metric, values in (metrics or {}).items():
                for step, value in zip(itertools.count(), values):
                    experiment.log_metric(metric, value, step)
            if artifact is not None:
                experiment.log_artifact(artifact)
        return tracelet.open_store().run(experiment.id)

    return make


@pytest.fixture
def service() -> Service:
    """What answers, over the default store."""
    return Service(tracelet.open_store())


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    """The API behind the gate, as a browser on this machine reaches it."""
    gate = AccessControl(application(service), AccessRules())
    with TestClient(gate, base_url="http://127.0.0.1:8765", headers=OURS) as made:
        yield made
