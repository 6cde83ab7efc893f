"""What Hugging Face's Trainer logs is recorded as its own log history has it, and nothing else changes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tests.programs import logged, recorded_run, weights_of, with_and_without
from tracelet.store.run import Run

MODEL = """
import torch, transformers
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
transformers.set_seed(0)
transformers.utils.logging.set_verbosity_error()

class Words(torch.utils.data.Dataset):
    def __len__(self): return 32
    def __getitem__(self, index):
        words = torch.randint(0, 50, (8,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": words, "attention_mask": torch.ones_like(words), "labels": int(words[0] > 25)}

def model():
    return BertForSequenceClassification(BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32, max_position_embeddings=16, num_labels=2))
"""
PROGRAM = f"""{MODEL}
arguments = TrainingArguments("out", num_train_epochs=2, per_device_train_batch_size=8, logging_steps=2, seed=0,
    eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True, report_to=["tensorboard"],
    use_cpu=True, disable_tqdm=True)
trainer = Trainer(model(), arguments, train_dataset=Words(), eval_dataset=Words())
trainer.train()
trainer.evaluate()
json.dump(trainer.state.log_history, open("../history.json", "w"))
told["weights"] = {weights_of("trainer.model")}
told["callbacks"] = [type(callback).__name__ for callback in trainer.callback_handler.callbacks]
"""


def _compare(run: Run, history: list[dict[str, float]]) -> None:
    """Each name of the history is a series with the same steps and values, and there is no other one."""
    names = {name for row in history for name in row} - {"step"}
    assert set(logged(run)) == names
    for name in names:
        rows = [row for row in history if name in row]
        assert run.series(name).steps.tolist() == [row["step"] for row in rows]
        assert run.series(name).values.tolist() == [row[name] for row in rows]


@pytest.mark.slow
def test_a_training_is_the_same_with_us_and_recorded_as_its_history_has_it(tmp_path: Path) -> None:
    """Weights, random numbers, files and warnings are as without; every row of the history is recorded, once."""
    bare, recorded = with_and_without(PROGRAM, tmp_path)
    assert recorded == bare
    run = recorded_run(tmp_path)
    _compare(run, json.loads((tmp_path / "history.json").read_text(encoding="utf-8")))
    assert run.params["training_args/per_device_train_batch_size"] == 8
    assert run.params["model_config/hidden_size"] == 16
    kept = [artifact for artifact in run.artifacts if artifact.kind == "checkpoint"]
    assert [(artifact.name, artifact.metadata["step"]) for artifact in kept] == [
        ("checkpoint-4", 4),
        ("checkpoint-8", 8),
    ]
    assert [(event.attributes["kind"], event.attributes["status"]) for event in run.events("fit_finished")] == [
        ("fit", "finished"), ("validate", "finished"),
    ]  # fmt: skip
    assert set(run.series("eval_loss").stages) == {"validate"}
    assert (run.metric("eval_loss").goal, run.metric("eval_loss").source) == ("min", "transformers")


def _made(**arguments: Any) -> Any:
    space: dict[str, Any] = {}
    exec(MODEL, space)
    given = space["TrainingArguments"](
        "out", max_steps=2, per_device_train_batch_size=8, logging_steps=1, save_strategy="no", report_to="none",
        use_cpu=True, disable_tqdm=True, **arguments,
    )  # fmt: skip
    return space["Trainer"](space["model"](), given, train_dataset=space["Words"]())


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_the_trainer_hides_is_reported(tmp_path: Path) -> None:
    """The Trainer logs a NaN loss as 0; the values are recorded as it logs them, and the run's problems say so."""
    import torch

    trainer = _made()
    with torch.no_grad():
        trainer.model.classifier.weight.fill_(math.nan)
    with tracelet.start_logging(
        "hidden", config={"dir": str(tmp_path / "store"), "quiet": True, "track_system": False}
    ):
        trainer.train()
    run = tracelet.open_store(tmp_path / "store").run("hidden")
    assert run.series("loss").values.tolist() == [0.0, 0.0]
    assert math.isnan(run.series("grad_norm").values[0])
    (problem,) = run.problems
    assert "logging_nan_inf_filter=False" in problem


@pytest.mark.filterwarnings("ignore")
def test_the_end_of_a_run_leaves_the_classes_as_they_were(tmp_path: Path) -> None:
    """The Trainer and the callback handler have the attributes they had, and a setting leaves them alone altogether."""
    from transformers import Trainer
    from transformers.trainer_callback import CallbackHandler

    before = dict(vars(Trainer)), dict(vars(CallbackHandler))
    config = {"dir": str(tmp_path / "store"), "quiet": True, "track_system": False}
    with tracelet.start_logging("on", config=config):
        assert vars(Trainer)["train"] is not before[0]["train"]
    assert (dict(vars(Trainer)), dict(vars(CallbackHandler))) == before
    with tracelet.start_logging("off", config={**config, "track_transformers": False}):
        assert (dict(vars(Trainer)), dict(vars(CallbackHandler))) == before
        _made().train()
    assert "loss" not in tracelet.open_store(tmp_path / "store").run("off").metrics()
