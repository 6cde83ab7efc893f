"""The SDKs' own variables mean with us what they mean there."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracelet
from tracelet.backends.sdk_variables import options_from, switched_off
from tracelet.session.backend_arguments import parse


@pytest.mark.parametrize(
    ("backend", "variables", "options"),
    [
        ("wandb", {"WANDB_MODE": "offline", "WANDB_DIR": "/x"}, {"mode": "offline", "dir": "/x"}),
        ("wandb", {"WANDB_MODE": "dryrun"}, {"mode": "offline"}),
        ("wandb", {"WANDB_ENTITY": "team", "WANDB_RUN_GROUP": "g"}, {"entity": "team", "group": "g"}),
        ("wandb", {"WANDB_MODE": "disabled"}, {}),
        ("clearml", {"CLEARML_OFFLINE_MODE": "1"}, {"mode": "offline"}),
        ("clearml", {"CLEARML_OFFLINE_MODE": "0"}, {}),
        ("clearml", {"TRAINS_OFFLINE_MODE": "true", "CLEARML_CACHE_DIR": "/c"}, {"mode": "offline", "dir": "/c"}),
        ("mlflow", {"MLFLOW_EXPERIMENT_NAME": "e"}, {"experiment": "e"}),
        ("tensorboard", {"WANDB_MODE": "offline"}, {}),
    ],
)
def test_variables_are_options(backend: str, variables: dict[str, str], options: dict[str, str]) -> None:
    """A variable of an SDK is an option of its backend."""
    assert options_from(backend, variables) == options


@pytest.mark.parametrize("variable", ["WANDB_MODE=disabled", "WANDB_DISABLED=true", "WANDB_DISABLED=1"])
def test_an_sdk_that_is_off_gets_nothing(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is recorded, and does not name a backend whose SDK is switched off; the others it does."""
    name, _, value = variable.partition("=")
    monkeypatch.setenv(name, value)
    assert switched_off("wandb") == variable
    with tracelet.start_logging("r", backend=["jsonl", "wandb"], config={"quiet": True}) as run:
        run.log_metric("loss", 0.5)
    (view, *_) = tracelet.open_store(tmp_path / ".tracelet").run("latest").views
    assert view.started is not None
    assert set(view.started.backends) == {"jsonl"}


def test_what_tracelet_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option of ours wins over a table of the settings, and that over an SDK's variable."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert parse("wandb", {}) == {"wandb": {"mode": "offline"}}
    assert parse("wandb", {"wandb": {"mode": "shared"}}) == {"wandb": {"mode": "shared"}}
    assert parse({"wandb": {"mode": "online"}}, {"wandb": {"mode": "shared"}}) == {"wandb": {"mode": "online"}}
