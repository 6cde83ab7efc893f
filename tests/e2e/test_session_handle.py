"""The handle in the user's program: copied, pickled, asked for again, and made again by spawned processes."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
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
    assert "track_gradients came too late" in caplog.text
    with pytest.raises(AlreadyActive, match="run_id 'other'"):
        tracelet.start_logging(run_id="other")
    tracelet.stop_logging()
    assert tracelet.open_store().run(experiment.id).info.backends == ("jsonl",)


@pytest.mark.slow
def test_a_call_at_module_level_makes_one_run_however_workers_start(tmp_path: Path) -> None:
    """Spawned workers import the script again; their `start_logging()` and a pickled handle record nothing."""
    (tmp_path / "train.py").write_text(MODULE_LEVEL)
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, check=True, timeout=120)
    (run,) = tracelet.open_store(tmp_path / ".tracelet").runs()
    assert (run.info.status, run.metrics()) == ("finished", ["main"])
