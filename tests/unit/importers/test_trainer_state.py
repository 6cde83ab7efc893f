"""The state that the real Trainer's classes write, compared with what they read."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import TrainerState

from tests.importing import FAR, HARD, expected, imported, values
from tracelet.errors import ImportFailed
from tracelet.importers.trainer_state import TrainerStateImporter
from tracelet.testing import ImporterConformance

STEPS = (0, 1, 1, 3, 2, FAR, 5, 7)


def save(folder: Path, points: int) -> TrainerState:
    """A state with so many points, as a checkpoint has it."""
    folder.mkdir(parents=True)
    state = TrainerState(global_step=points, max_steps=8, num_train_epochs=2, trial_params={"lr": 0.1})
    state.log_history = [
        {"step": step, "loss": value, "epoch": 0.5} for step, value in list(zip(STEPS, HARD))[:points]
    ] + [{"step": points, "eval_loss": 0.25}]
    state.save_to_json(str(folder / "trainer_state.json"))
    loaded: TrainerState = TrainerState.load_from_json(str(folder / "trainer_state.json"))
    return loaded


def test_the_latest_state_is_the_run(tmp_path: Path) -> None:
    """Of several checkpoints the latest has the whole history; points are those that Transformers reads."""
    save(tmp_path / "out" / "checkpoint-4", 4)
    state = save(tmp_path / "out" / "checkpoint-8", 8)
    run = imported(tmp_path / "out", TrainerStateImporter(), tmp_path / "store")["out"]
    assert values(run, "loss") == expected(STEPS, [row["loss"] for row in state.log_history if "loss" in row])
    assert values(run, "eval_loss") == [(8, "0.25")]
    assert run.params["lr"] == 0.1 and run.params["max_steps"] == 8
    assert [one.name for one in run.artifacts] == ["checkpoint-4", "checkpoint-8"]
    assert any("no times" in problem for problem in run.problems)


def test_a_checkpoint_or_a_file_alone(tmp_path: Path) -> None:
    """The path may be the output folder's parent, a checkpoint, or the file itself."""
    save(tmp_path / "models" / "bert" / "checkpoint-8", 8)
    found = TrainerStateImporter().find(tmp_path / "models")
    assert [(run.name, run.path.name) for run in found] == [("bert", "bert")]
    checkpoint = tmp_path / "models" / "bert" / "checkpoint-8"
    assert [run.path for run in TrainerStateImporter().find(checkpoint)] == [checkpoint]
    (run,) = imported(checkpoint / "trainer_state.json", TrainerStateImporter(), tmp_path / "store").values()
    assert len(run.series("loss")) == 8


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"log_history": 3}', '{"log_history": [3]}', "[" * 100_000])
def test_damaged_states(content: str, tmp_path: Path) -> None:
    """Whatever is not a state gives an error that names the file."""
    path = tmp_path / "trainer_state.json"
    path.write_text(content, encoding="utf-8")
    (run,) = TrainerStateImporter().find(path)
    with pytest.raises(ImportFailed, match="trainer_state.json is no state of a Trainer"):
        list(TrainerStateImporter().read(run))


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    save(tmp_path / "source" / "checkpoint-8", 8)
    ImporterConformance(TrainerStateImporter(), tmp_path / "source", tmp_path).run(check)
