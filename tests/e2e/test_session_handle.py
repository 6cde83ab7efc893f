"""The handle in the user's program: copied, pickled, asked for again, and made again by spawned processes."""

from __future__ import annotations

import contextlib
import copy
import logging
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tracelet
from tracelet.errors import AlreadyActive

BARE = {f"track_{name}": False for name in ("lightning", "system", "git", "env")}

MODULE_LEVEL = """
import torch, tracelet
experiment = tracelet.start_logging("spawned", config={"track_system": False, "track_git": False, "quiet": True})

class Data(torch.utils.data.Dataset):
    def __init__(self): self.experiment = experiment
    def __len__(self): return 4
    def __getitem__(self, index):
        self.experiment.log_metric("in_worker", 1.0)
        tracelet.log({"in_worker": 1.0})
        return index

if __name__ == "__main__":
    for method in ("spawn", "forkserver"):
        loader = torch.utils.data.DataLoader(Data(), num_workers=1, multiprocessing_context=method)
        assert len(list(loader)) == 4
    tracelet.log({"main": 1.0})
"""


def test_copies_of_the_handle_are_the_handle() -> None:
    """A model that holds its experiment can be deep-copied, averaged and pickled."""
    with tracelet.start_logging("a", config=BARE) as experiment:
        assert copy.deepcopy({"held": experiment})["held"] is experiment
        assert copy.copy(experiment) is experiment
        pickled = pickle.dumps(experiment)
        assert pickle.loads(pickled) is experiment
    stranger = pickle.loads(pickled)
    stranger.log_metric("late", 1.0)
    assert (stranger.id, stranger.name) == (experiment.id, "a")
    assert tracelet.open_store().run(experiment.id).metrics() == []


def test_a_second_call_adds_backends_and_says_what_comes_too_late(caplog: pytest.LogCaptureFixture) -> None:
    """Backends join the run that goes on; a setting that has begun to act is named; another id is an error."""
    experiment = tracelet.start_logging("a", config=BARE)
    with caplog.at_level(logging.WARNING, "tracelet"):
        again = tracelet.start_logging("a", backend="jsonl", config={**BARE, "track_gradients": True})
    assert again is experiment
    assert "track_gradients cannot be changed any more" in caplog.text
    with pytest.raises(AlreadyActive, match="run_id 'other'"):
        tracelet.start_logging(run_id="other")
    tracelet.stop_logging()
    assert tracelet.open_store().run(experiment.id).info.backends == ("jsonl",)


def test_a_block_around_a_second_call_does_not_end_the_run() -> None:
    """A function that records by `with start_logging()` leaves its caller's run as it is, however that was started."""
    with tracelet.start_logging("outer", config=BARE) as outer:
        with contextlib.suppress(ValueError), tracelet.start_logging("outer") as inner:
            inner.log_metric("x", 1)
            raise ValueError("mine")
        with outer:
            outer.log_metric("x", 2)
        assert tracelet.get_active_experiment() is outer
        outer.log_metric("x", 3)
    found = tracelet.open_store().run(outer.id)
    assert (found.info.status, found.series("x").values.tolist()) == ("finished", [1, 2, 3])
    assert tracelet.get_active_experiment() is None


@pytest.mark.parametrize("end", ["with", "stop", "stop_logging"])
def test_a_run_that_was_started_without_a_block_is_ended_by_hand(end: str) -> None:
    """`with start_logging()` further down does not end it; its own handle's block does, `stop()`, `stop_logging()`."""
    handle = tracelet.start_logging("outer", config=BARE)
    with tracelet.start_logging() as inner:
        inner.log_metric("x", 1)
    assert tracelet.get_active_experiment() is handle
    if end == "with":
        with handle:
            handle.log_metric("x", 2)
    else:
        handle.log_metric("x", 2)
        (handle.stop if end == "stop" else tracelet.stop_logging)()
    assert tracelet.get_active_experiment() is None
    found = tracelet.open_store().run(handle.id)
    assert (found.info.status, found.series("x").values.tolist()) == ("finished", [1, 2])


def test_a_block_around_a_second_call_on_another_thread_does_not_end_the_run() -> None:
    """What a thread asked for again says nothing of the block that another thread is about to enter."""
    handle = tracelet.start_logging("outer", config=BARE)

    def work() -> None:
        with tracelet.start_logging():
            tracelet.log({"x": 1})
        tracelet.start_logging()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert tracelet.get_active_experiment() is handle
    with handle:
        pass
    assert tracelet.get_active_experiment() is None


def test_blocks_where_nothing_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """Switched off, the inner block leaves the handle active too, so that `log()` has nothing to say."""
    with tracelet.start_logging("off", config={"enabled": False}) as outer:
        with tracelet.start_logging("off", config={"enabled": False}):
            tracelet.log({"x": 1})
        tracelet.log({"x": 2})
        assert tracelet.get_active_experiment() is outer
    assert tracelet.get_active_experiment() is None
    assert caplog.text == ""


@pytest.mark.slow
def test_a_call_at_module_level_makes_one_run_however_workers_start(tmp_path: Path) -> None:
    """Spawned workers import the script again; their `start_logging()` and a pickled handle record nothing."""
    (tmp_path / "train.py").write_text(MODULE_LEVEL)
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, check=True, timeout=120)
    (run,) = tracelet.open_store(tmp_path / ".tracelet").runs()
    assert (run.info.status, run.metrics()) == ("finished", ["main"])
