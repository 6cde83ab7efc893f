"""What failures and early ends leave of a training's spans, and that the program meets its own exception."""

from __future__ import annotations

import importlib
import threading
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

import tracelet
from tests.e2e.test_spans_lightning import loader, module_class, recorded, trainer

pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning says about tiny loaders is not our subject


class DiskFull(OSError):
    """What the disk says."""


class Full(TorchCheckpointIO):
    """Refuses one save, and takes the others."""

    def __init__(self, error: BaseException, refused: int) -> None:
        self.error, self.left = error, refused

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Refuse the save whose turn it is."""
        self.left -= 1
        if self.left == 0:
            raise self.error
        super().save_checkpoint(checkpoint, path, storage_options)


def test_a_checkpoint_that_fails_during_a_fit(tmp_path: Path) -> None:
    """A save that fails in the middle of a training ends save, iteration and loop with its error, and the fit raises
    the very object; the next fit is recorded as usual.
    """
    error = DiskFull("no space left")
    with recorded() as found:
        saving = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
        fitter = trainer(pl, enable_checkpointing=True, callbacks=[saving], plugins=[Full(error, 2)])
        with pytest.raises(DiskFull) as caught:
            fitter.fit(module_class(pl)(), loader(8))
        trainer(pl).fit(module_class(pl)(), loader(4))
    assert caught.value is error
    failed = [node.span for node in found.process if node.span.error]
    assert sorted(span.name for span in failed) == [
        "checkpoint_save_sync", "training_loop", "training_single_iteration",
    ]  # fmt: skip
    assert {span.error for span in failed} == {"DiskFull: no space left"}
    assert all(node.span.duration_ns >= 0 for node in found.process)
    traces = [span.name for span in failed if "exception_traceback" in span.attributes]
    assert "checkpoint_save_sync" in traces
    assert len(found.events("save_checkpoint_success")) == 1
    assert [bool(loop.span.error) for loop in found.named("training_loop")] == [True, False]
    tails = [event.attributes for event in found.events("training_metrics_update") if event.attributes.get("tail")]
    assert len(tails) == 2


def test_an_asynchronous_checkpoint_that_fails_during_a_fit(tmp_path: Path) -> None:
    """What fails in the background is told on the finalization of its save; saves before it have succeeded."""
    error = DiskFull("no space left")
    with recorded() as found:
        saving = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
        plugin = AsyncCheckpointIO(Full(error, 3))
        fitter = trainer(pl, enable_checkpointing=True, callbacks=[saving], plugins=[plugin])
        with pytest.raises(DiskFull) as caught:
            fitter.fit(module_class(pl)(), loader(8))
    assert caught.value is error
    finals = found.named("checkpoint_save_finalization")
    refused = [node.span.error for node in finals if node.span.error]
    assert refused == ["DiskFull: no space left"]
    parents = {node.span.id: node.span.name for node in found.process}
    assert {parents[node.span.parent] for node in finals} == {"checkpoint_save_async"}
    told = {event.attributes["checkpoint_directory"] for event in found.events("save_checkpoint_success")}
    assert told == {str(tmp_path)} and len(found.events("save_checkpoint_success")) == len(finals) - 1


def test_early_ends(tmp_path: Path) -> None:
    """`max_time`, trials of the batch size and a stop from a callback leave whole trees: what was tried is marked and
    counts for nothing, and nothing stays open.
    """
    tuner = importlib.import_module("lightning.pytorch.tuner")

    class Slow(module_class(pl)):  # type: ignore[misc]
        def __init__(self, pause: float = 0.0) -> None:
            super().__init__()
            self.batch_size, self.pause = 2, pause

        def train_dataloader(self) -> Any:
            return loader(64, self.batch_size)

        def val_dataloader(self) -> Any:
            return loader(2)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            time.sleep(self.pause)
            return super().training_step(batch, batch_idx)

    class Stopping(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = True

    with recorded() as found:
        model = Slow()
        probing = trainer(pl, default_root_dir=str(tmp_path))
        tuner.Tuner(probing).scale_batch_size(model, max_trials=2, steps_per_trial=2)
        timed = trainer(pl, max_epochs=-1, max_time={"seconds": 1})
        timed.fit(Slow(0.05))
        trainer(pl, callbacks=[Stopping()]).fit(Slow())
    loops = found.named("training_loop")
    assert [loop.span.attributes.get("trial", False) for loop in loops] == [True, True, False, False]
    steps = [sum(child.span.name == "training_single_iteration" for child in loop.children) for loop in loops]
    assert steps[2] == timed.global_step and steps[3] == 1
    last = found.events("training_metrics_update")[-1].attributes
    assert last["num_iterations"] == steps[2] + steps[3] and last["num_train_samples"] == 2 * last["num_iterations"]
    assert [node.span.error for node in found.process if node.span.error] == []
    assert all(node.span.duration_ns >= 0 for node in found.process)


def test_generators_and_threads_around_a_fit() -> None:
    """A loader that is a generator with spans of its own, and a thread with others, hang where they belong."""

    @tracelet.span("source")
    def source() -> Any:
        for row in loader(8):
            with tracelet.span("decode"):
                yield row

    class Watching(pl.Callback):
        def on_train_start(self, *_: Any) -> None:
            def watch() -> None:
                with tracelet.span("watching"):
                    pass

            thread = threading.Thread(target=watch)
            thread.start()
            thread.join()

    class Streamed(module_class(pl)):  # type: ignore[misc]
        def train_dataloader(self) -> Any:
            return Stream(source)

    with recorded() as found:
        trainer(pl, callbacks=[Watching()], max_epochs=1).fit(Streamed())
    names = {node.span.id: node.span.name for node in found.process}
    assert names[found.one("watching").span.parent] == "application"
    assert found.one("watching").span.thread != found.one("training_loop").span.thread
    steps = found.named("training_single_iteration")
    assert len(steps) == 4 and {names[step.span.parent] for step in steps} == {"training_loop"}
    for step in steps:
        children = [child.span.name for child in step.children]
        assert children.count("model_forward") == children.count("data_loading") == 1
    decoded = found.named("decode")
    assert len(decoded) == 4 and all(not node.span.error and node.span.duration_ns >= 0 for node in decoded)


class Stream:
    """Something to iterate over, made anew each time."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __iter__(self) -> Any:
        return iter(self.source())
