"""What a program reports to ClearML itself is recorded as its offline session has it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import tracelet
from tests.programs import logged, recorded_run, with_and_without

pytestmark = pytest.mark.filterwarnings("ignore")  # what ClearML's dependencies say about themselves is not our subject

PROGRAM = """
os.environ.update(CLEARML_CACHE_DIR=os.path.abspath("cache"), CLEARML_LOG_LEVEL="ERROR")
from clearml import Task
Task.set_offline(True)
# Its search for a repository hangs now and then, with us or without: it starts git while the SDK forks.
nothing = dict.fromkeys(("detect_repository", "matplotlib", "tensorflow", "tensorboard", "pytorch", "scikit"), False)
task = Task.init(project_name="p", task_name="t", auto_connect_frameworks=nothing, auto_connect_arg_parser=False,
                 auto_connect_streams=False, auto_resource_monitoring=False)
task.connect({"lr": 0.1, "opt": {"name": "adam"}})
task.connect({"width": 8}, name="model")
logger = task.get_logger()
for step in range(20):
    logger.report_scalar("loss", "train", 1 / (step + 1), iteration=step)
    logger.report_scalar("lr", "lr", value=numpy.float32(0.5), iteration=step)
logger.report_single_value("best", 0.75)
folder = str(task.get_offline_mode_folder())
task.close()
with open(os.path.join(folder, "metrics.jsonl")) as file:
    lines = file.read().splitlines()
told["stored"] = [[event["metric"], event["variant"], event["iter"], event["value"]]
                  for line in lines for event in json.loads(line) if not event["metric"].startswith(":monitor:")]
"""


@pytest.mark.slow
def test_a_program_is_the_same_with_us_and_recorded_as_clearml_stores_it(tmp_path: Path) -> None:
    """Every scalar of the offline session is a point at its iteration; connected dictionaries are parameters."""
    bare, recorded = with_and_without(PROGRAM, tmp_path)
    for each in (bare, recorded):
        del each["files"], each["threads"]  # ids of sessions; threads that ClearML ends when it pleases
    assert recorded == bare
    stored: dict[str, list[tuple[int, float]]] = {}
    for title, series, step, value in recorded["stored"]:
        name = series if title in {series, "Summary"} else f"{title}/{series}"
        stored.setdefault(name, []).append((0 if title == "Summary" else step, value))
    run = recorded_run(tmp_path)
    assert logged(run) == stored
    assert stored["best"] == [(0, 0.75)]
    assert (run.params["lr"], run.params["opt/name"], run.params["model/width"]) == (0.1, "adam", 8)


def test_the_classes_are_left_as_they_were_and_a_setting_turns_it_off(tmp_path: Path) -> None:
    """Every attribute of loggers and tasks is the object that it was."""
    logger, task = importlib.import_module("clearml").Logger, importlib.import_module("clearml").Task
    before = dict(vars(logger)), dict(vars(task))
    config = {"dir": str(tmp_path / "store"), "quiet": True, "track_system": False}
    with tracelet.start_logging("on", config=config):
        assert vars(logger)["report_scalar"] is not before[0]["report_scalar"]
    assert (dict(vars(logger)), dict(vars(task))) == before
    with tracelet.start_logging("off", config={**config, "track_clearml": False}):
        assert (dict(vars(logger)), dict(vars(task))) == before
