"""A script's own `start_logging()` under `tracelet run`: what it may say, and what stands."""

from __future__ import annotations

import json
import logging

import pytest

import tracelet
from tracelet.errors import AlreadyActive
from tracelet.session import autostart

BARE = {f"track_{name}": "false" for name in ("lightning", "system", "git", "env")}


def begin(name: str = "script", tags: dict[str, str] | None = None, **given: str) -> None:
    """What happens before the script's first line."""
    autostart.start_from_command_line(
        json.dumps({"given": {**BARE, "quiet": "true", **given}, "name": name, "tags": tags or {}})
    )


def test_the_script_fills_in_what_was_not_said() -> None:
    """Name, project, tags, parameters and backends of the script become those of the run that goes on."""
    begin(tags={"a": "1"})
    automatic = tracelet.get_active_experiment()
    assert automatic is not None
    tracelet.log({"before": 1.0})
    experiment = tracelet.start_logging("mine", "vision", "jsonl", tags={"b": "2"}, params={"lr": 1})
    assert experiment is automatic
    assert (experiment.name, experiment.project) == ("mine", "vision")
    tracelet.stop_logging()
    run = tracelet.open_store().run(experiment.id)
    assert (run.info.name, run.info.project, run.info.backends) == ("mine", "vision", ("jsonl",))
    assert run.tags == {"a": "1", "b": "2"}
    assert run.params == {"lr": 1}
    assert run.metrics() == ["before"]
    assert run.problems == []


def test_the_new_name_is_seen_while_the_run_goes_on() -> None:
    """A reader sees the last name that was said before the run is sealed, and after a kill."""
    begin()
    experiment = tracelet.start_logging("mine")
    experiment.flush()
    assert tracelet.open_store().run("latest").info.name == "mine"
    tracelet.stop_logging()


def test_the_command_line_stands() -> None:
    """What `tracelet run` was told is not changed by the script, and is no error."""
    begin(experiment_name="told", project="p", backend="jsonl")
    experiment = tracelet.start_logging("mine", "vision", "mlflow")
    tracelet.stop_logging()
    info = tracelet.open_store().run(experiment.id).info
    assert (info.name, info.project, info.backends) == ("told", "p", ("jsonl",))


def test_only_the_first_call_takes_over() -> None:
    """After it, another name is `AlreadyActive` as always."""
    begin()
    tracelet.start_logging("mine")
    tracelet.start_logging()
    with pytest.raises(AlreadyActive):
        tracelet.start_logging("another")
    tracelet.stop_logging()


def test_a_call_without_a_name_keeps_the_scripts() -> None:
    """`start_logging()` leaves the run as it is."""
    begin("train")
    assert tracelet.start_logging().name == "train"
    tracelet.stop_logging()


def test_settings_that_come_too_late_are_said(caplog: pytest.LogCaptureFixture) -> None:
    """A setting that has begun to act stays, and the option to type instead is said."""
    begin()
    with caplog.at_level(logging.WARNING, "tracelet"):
        tracelet.start_logging("mine", config={"metrics_interval": 3, "track_git": False})
    assert "--config metrics_interval=3.0" in caplog.text
    assert "track_git" not in caplog.text
    tracelet.stop_logging()


@pytest.mark.allow_guarded
def test_a_start_that_fails_is_only_said(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a bad setting nor nonsense in the variable raises."""
    with caplog.at_level(logging.WARNING, "tracelet"):
        begin(metrics_interval="never")
        autostart.start_from_command_line("{")
    assert "but is not recorded" in caplog.text
    assert tracelet.get_active_experiment() is None
