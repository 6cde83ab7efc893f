"""The `huggingface` importer: `trainer_state.json` of the Trainer of Hugging Face Transformers.

A folder with checkpoints is one run: the latest state holds the whole history. The file has steps and no times.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracelet.capture.parameters import flatten
from tracelet.errors import ImportFailed
from tracelet.importers.base import Item, SourceRun
from tracelet.importers.point_columns import PointColumns
from tracelet.importers.text_numbers import measured
from tracelet.importers.timestamps import modified
from tracelet.journal.records import Artifact, Facts, Notice, Params

STATE = "trainer_state.json"
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
STEP = "step"
SETTINGS = (
    "max_steps", "num_train_epochs", "train_batch_size", "num_input_tokens_seen", "logging_steps", "eval_steps",
    "save_steps", "trial_name",
)  # fmt: skip
RESULTS = ("best_metric", "best_global_step", "best_model_checkpoint", "global_step", "epoch", "total_flos")


class TrainerStateImporter:
    """Reads the state that the Trainer saves with each checkpoint."""

    name = "huggingface"

    def find(self, path: Path) -> list[SourceRun]:
        """A run for each output folder of a Trainer."""
        if path.is_file():
            return [SourceRun(self.name, path, name=path.parent.name)] if path.name == STATE else []
        found: dict[Path, SourceRun] = {}
        for folder, subfolders, files in os.walk(path):
            subfolders.sort()
            if STATE in files:
                here = Path(folder)
                output = here.parent if CHECKPOINT.fullmatch(here.name) and here != path else here
                name = output.name if output == path else output.relative_to(path).as_posix()
                found.setdefault(output, SourceRun(self.name, output, name=name))
        return list(found.values())

    def read(self, run: SourceRun) -> Iterator[Item]:
        """The history of the latest state, its settings and results, and the checkpoints by reference."""
        path, state = _latest(run.path)
        time = modified(path)
        points = PointColumns()
        for row in _history(path, state):
            step = measured(row.get(STEP))
            for name, cell in row.items():
                value = measured(cell)
                if name != STEP and value is not None:
                    points.add(name, step, value, time)
            yield from points.full()
        yield from points.rest()
        settings = {name: state[name] for name in SETTINGS if state.get(name) is not None}
        yield Params(time=time, values=flatten(settings | (state.get("trial_params") or {})), source="trainer_state")
        yield Facts(time=time, topic="summary", values={name: state[name] for name in RESULTS if name in state})
        yield from points.notices()
        yield Notice(time=time, code="import", message=f"{STATE} has no times; its points have that of the file")
        yield from _checkpoints(run.path)


def _latest(path: Path) -> tuple[Path, dict[str, Any]]:
    """The state with the most steps; that of the folder itself rather than an equal one of a checkpoint."""
    files = [path] if path.is_file() else [file for file in (path / STATE, *path.glob(f"*/{STATE}")) if file.is_file()]
    states = [(file, _loaded(file)) for file in files]
    return max(states, key=lambda pair: measured(pair[1].get("global_step")) or 0)


def _loaded(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ImportFailed(f"{path} is no state of a Trainer: {error}") from None
    if not isinstance(state, dict):
        raise ImportFailed(f"{path} is no state of a Trainer: it is a {type(state).__name__}, not a JSON object")
    return state


def _history(path: Path, state: dict[str, Any]) -> list[dict[str, Any]]:
    history = state.get("log_history", [])
    if not isinstance(history, list) or not all(isinstance(row, dict) for row in history):
        raise ImportFailed(f"{path} is no state of a Trainer: log_history is not a list of JSON objects")
    return history


def _checkpoints(folder: Path) -> Iterator[Item]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir(), key=lambda one: (len(one.name), one.name)):
        if path.is_dir() and CHECKPOINT.fullmatch(path.name):
            size = sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
            yield Artifact(time=modified(path), name=path.name, path=str(path), kind="checkpoint", size=size)
