"""What a program logs to trackio is recorded as trackio's own database has it, which holds what it held before."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import tracelet
from tests.programs import logged, recorded_run, with_and_without

PROGRAM = """
os.environ.update(TRACKIO_DIR=os.path.abspath("trackio"))
import trackio
run = trackio.init(project="p", name="first", config={"lr": 0.1, "opt": {"name": "adam"}}, auto_log_cpu=False)
for step in range(20):
    trackio.log({"loss": 1 / (step + 1), "nested": {"a": step}})
run.log({"jump": numpy.float32(3)}, step=50)
trackio.log({"after": 4.5})
trackio.finish()
from trackio.sqlite_storage import SQLiteStorage
told["stored"] = [[row.pop("step"), {name: value for name, value in row.items() if name != "timestamp"}]
                  for row in SQLiteStorage.get_logs("p", "first")]
"""
"""The rows that it says are read by trackio's own reader."""


@pytest.mark.slow
def test_a_program_is_the_same_with_us_and_recorded_as_trackio_stores_it(tmp_path: Path) -> None:
    """Every number of a row is a point at trackio's own step; the configuration is recorded as parameters."""
    bare, recorded = with_and_without(PROGRAM, tmp_path)
    assert recorded == bare
    expected: dict[str, list[tuple[int, float]]] = {}
    for step, row in recorded["stored"]:
        for name, value in row.items():
            pairs = (
                [(f"{name}/{key}", one) for key, one in value.items()] if isinstance(value, dict) else [(name, value)]
            )
            for series, number in pairs:
                expected.setdefault(series, []).append((step, number))
    assert expected["after"] == [(51, 4.5)]
    run = recorded_run(tmp_path)
    assert logged(run) == expected
    assert {name: value for name, value in run.params.items() if run.param_sources[name] == "trackio"} == {
        "lr": 0.1, "opt/name": "adam",
    }  # fmt: skip


def test_the_class_is_left_as_it_was_and_a_setting_turns_it_off(tmp_path: Path) -> None:
    """Every attribute of trackio's run, and its function `init`, is the object that it was."""
    trackio = importlib.import_module("trackio")
    before = dict(vars(trackio.Run)), trackio.init
    config = {"dir": str(tmp_path / "store"), "quiet": True, "track_system": False}
    with tracelet.start_logging("on", config=config):
        assert vars(trackio.Run)["log"] is not before[0]["log"]
    assert (dict(vars(trackio.Run)), trackio.init) == before
    with tracelet.start_logging("off", config={**config, "track_trackio": False}):
        assert (dict(vars(trackio.Run)), trackio.init) == before
