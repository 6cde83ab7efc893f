"""What a program gives to Aim itself is recorded as Aim's own repository has it, which holds what it held before."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tests.programs import logged, recorded_run, with_and_without

pytestmark = pytest.mark.filterwarnings("ignore")  # what Aim's dependencies say about themselves is not our subject
aim: Any = pytest.importorskip("aim", reason="Aim has no wheels for this Python")

PROGRAM = """
import aim
run = aim.Run(repo=".", system_tracking_interval=None, log_system_params=False, capture_terminal_logs=False)
run["hparams"] = {"lr": 0.1, "opt": {"name": "adam"}}
for step in range(20):
    run.track(1 / (step + 1), name="loss", step=step, epoch=1)
    run.track({"a": step, "b": 2.5}, context={"subset": "val"})
run.track(numpy.float32(0.5), name="loss", step=2**40)
run.close()
repo = aim.Repo(".")
repo._recreate_index()  # a run that has just been closed is visible only in a new index
(number,) = repo.list_all_runs()
told["stored"] = {}
for metric in aim.Run(number, repo=repo, read_only=True).metrics():
    where = "".join(f"{part}/" for part in metric.context.to_dict().values())
    steps, (values, *_) = metric.data.items_list()
    told["stored"][where + metric.name] = [[int(step), float(value)] for step, value in zip(steps, values)]
"""
"""The points that it says are read by Aim's own reader."""


@pytest.mark.slow
def test_a_program_is_the_same_with_us_and_recorded_as_aim_stores_it(tmp_path: Path) -> None:
    """Every sequence is a series with Aim's own steps and values, its context in front of its name."""
    bare, recorded = with_and_without(PROGRAM, tmp_path)
    for each in (bare, recorded):
        del each["files"]  # a database's files are named by their contents' order
    assert recorded == bare
    run = recorded_run(tmp_path)
    assert logged(run) == {name: [tuple(point) for point in points] for name, points in recorded["stored"].items()}
    assert (run.params["hparams/lr"], run.params["hparams/opt/name"]) == (0.1, "adam")


def test_the_class_is_left_as_it_was_and_a_setting_turns_it_off(tmp_path: Path) -> None:
    """Every attribute of Aim's run is the object that it was."""
    kind = importlib.import_module("aim.sdk.run").BasicRun
    before = dict(vars(kind))
    config = {"dir": str(tmp_path / "store"), "quiet": True, "track_system": False}
    with tracelet.start_logging("on", config=config):
        assert vars(kind)["track"] is not before["track"]
    assert dict(vars(kind)) == before
    with tracelet.start_logging("off", config={**config, "track_aim": False}):
        assert dict(vars(kind)) == before
