"""Programs written for nv-one-logger run on tracelet once their imports are changed, and write the same records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tests.environments import trackers_python
from tests.programs import ROOT
from tracelet import compat

LIGHTNING = """
from pathlib import Path
import torch
from lightning.pytorch import LightningModule, Trainer
from nv_one_logger.api.config import OneLoggerConfig
from nv_one_logger.exporter.file_exporter import FileExporter
from nv_one_logger.training_telemetry.api.config import TrainingTelemetryConfig
from nv_one_logger.training_telemetry.api.training_telemetry_provider import TrainingTelemetryProvider
from nv_one_logger.training_telemetry.integration.pytorch_lightning import hook_trainer_cls

class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.model = torch.nn.Linear(10, 1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return torch.nn.functional.mse_loss(self.model(x), y)

    def configure_optimizers(self):
        callback = self.trainer.nv_one_logger_callback
        callback.on_optimizer_init_start()
        optimizer = torch.optim.Adam(self.parameters())
        callback.on_optimizer_init_end()
        return optimizer

def main():
    base_config = OneLoggerConfig(application_name="test_app", session_tag_or_fn="test_session", world_size_or_fn=5)
    training_config = TrainingTelemetryConfig(
        world_size_or_fn=5, is_log_throughput_enabled_or_fn=True, flops_per_sample_or_fn=100,
        global_batch_size_or_fn=32, log_every_n_train_iterations=10, train_iterations_target_or_fn=32,
        train_samples_target_or_fn=1024, perf_tag_or_fn="test_perf",
    )
    exporter = FileExporter(file_path=Path("training_telemetry.json"))
    TrainingTelemetryProvider.instance().with_base_config(base_config).with_exporter(exporter).configure_provider()
    HookedTrainer = hook_trainer_cls(Trainer, TrainingTelemetryProvider.instance())
    trainer = HookedTrainer(max_steps=32, devices=1, accelerator="cpu", enable_progress_bar=False, logger=False)
    callback = trainer.nv_one_logger_callback
    from lightning.pytorch import Callback
    assert isinstance(callback, Callback) and HookedTrainer[1] is callback
    TrainingTelemetryProvider.instance().set_training_telemetry_config(training_config)
    callback.on_model_init_start()
    model = Model()
    callback.on_model_init_end()
    callback.on_load_checkpoint_start()
    callback.on_load_checkpoint_end()
    callback.on_dataloader_init_start()
    data = torch.utils.data.TensorDataset(torch.randn(1000, 10), torch.randn(1000, 1))
    loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)
    callback.on_dataloader_init_end()
    trainer.fit(model, loader)
    callback.on_app_end()

if __name__ == "__main__":
    main()
"""
"""The example of the documentation of its Lightning integration, with a smaller model."""
PLAIN = """
from pathlib import Path
from nv_one_logger.api.config import OneLoggerConfig
from nv_one_logger.api.timed_span import timed_span
from nv_one_logger.core.attributes import Attributes
from nv_one_logger.core.event import Event
from nv_one_logger.exporter.file_exporter import FileExporter
from nv_one_logger.training_telemetry.api.callbacks import on_train_end, on_train_start
from nv_one_logger.training_telemetry.api.checkpoint import CheckPointStrategy
from nv_one_logger.training_telemetry.api.config import TrainingTelemetryConfig
from nv_one_logger.training_telemetry.api.context import (
    application, checkpoint_save, model_init, training_iteration, training_loop, validation_iteration, validation_loop)
from nv_one_logger.training_telemetry.api.spans import StandardTrainingJobSpanName
from nv_one_logger.training_telemetry.api.training_telemetry_provider import TrainingTelemetryProvider

provider = TrainingTelemetryProvider.instance()
provider.with_base_config(OneLoggerConfig(
    application_name="example", world_size_or_fn=1, session_tag_or_fn="session", is_baseline_run_or_fn=True,
    custom_metadata={"team": "vision"}))
provider.with_exporter(FileExporter(file_path=Path("training_telemetry.json"))).configure_provider()

@application()
def main():
    provider.set_training_telemetry_config(TrainingTelemetryConfig(
        perf_tag_or_fn="perf", global_batch_size_or_fn=lambda: 8, log_every_n_train_iterations=4, seq_length_or_fn=16,
        flops_per_sample_or_fn=100, is_log_throughput_enabled_or_fn=True, train_iterations_target_or_fn=12,
        train_samples_target_or_fn=96, save_checkpoint_strategy=CheckPointStrategy.SYNC))
    with model_init():
        pass
    with training_loop(train_iterations_start=0) as loop:
        loop.add_attribute("mine", "value")
        for epoch in range(2):
            for _ in range(6):
                with training_iteration():
                    with timed_span(StandardTrainingJobSpanName.MODEL_FORWARD):
                        pass
            with validation_loop():
                for _ in range(2):
                    with validation_iteration():
                        pass
            with checkpoint_save(global_step=6 * (epoch + 1)):
                pass
    with timed_span(StandardTrainingJobSpanName.DIST_INIT, span_attributes=Attributes({"size": 3})) as span:
        provider.recorder.event(span, Event.create("mine", Attributes({"value": 1})))

main()
"""
TIMED = ("sec", "msec", "throughput", "tflops", "version")
"""Parts of the names of attributes that differ from run to run."""


def records(program: str, python: str, folder: Path) -> list[dict[str, Any]]:
    """What the program writes when this interpreter runs it."""
    folder.mkdir()
    (folder / "program.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [python, "program.py"], cwd=folder, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRACELET_DELIVERY": "inline", "TRACELET_TRACK_SYSTEM": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (folder / "training_telemetry.json").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def moved(program: str) -> str:
    """The program after a search and replace in its imports."""
    return program.replace("from nv_one_logger", "from tracelet.compat.onelogger")


def counted(found: list[dict[str, Any]]) -> Counter[str]:
    """Spans that ended and events, by name; without the incomplete last window, which is tracelet's own."""
    whole = [one for one in found if not one.get("event", {}).get("attributes", {}).get("tail")]
    return Counter(one.get("name") or one["event"]["name"] for one in whole if one["type"] != "start")


@pytest.mark.slow
def test_the_lightning_example(tmp_path: Path) -> None:
    """The documented example runs with its imports changed, and its file has the records that nv-one-logger writes."""
    assert counted(records(moved(LIGHTNING), sys.executable, tmp_path / "here")) == {
        "application": 1, "one_logger_initialization": 1, "update_training_telemetry_config": 1,
        "model_initialization": 1, "checkpoint_load": 1, "data_loader_initialization": 1, "optimizer_initialization": 1,
        "training_loop": 1, "training_metrics_update": 3, "checkpoint_save_sync": 1, "save_checkpoint_success": 1,
        "sync_checkpoint_metrics_update": 1,
    }  # fmt: skip


@pytest.mark.slow
def test_record_by_record(tmp_path: Path) -> None:
    """A plain loop writes what nv-one-logger 2.3.1 itself writes for it: each record, and each value but times."""
    theirs = records(PLAIN, trackers_python(), tmp_path / "theirs")
    ours = records(moved(PLAIN), sys.executable, tmp_path / "ours")
    assert counted(ours) == counted(theirs)
    mine = [one for one in ours if one["type"] == "event" and not one["event"]["attributes"].get("tail")]
    original = [one for one in theirs if one["type"] == "event"]
    for there, here in zip(original, mine):
        expected, found = there["event"]["attributes"], here["event"]["attributes"]
        assert here["event"]["name"] == there["event"]["name"]
        assert expected.keys() <= found.keys(), there["event"]["name"]
        exact = {name: value for name, value in expected.items() if not any(part in name for part in TIMED)}
        assert {name: found[name] for name in exact} == exact
    for span in ("training_loop", "checkpoint_save_sync", "distributed_code_initialization"):
        told = [[one["attributes"] for one in found if one.get("name") == span and one["type"] != "start"]
                for found in (theirs, ours)]  # fmt: skip
        for expected, found in zip(*told):
            exact = {name: value for name, value in expected.items() if name != "duration_msec"}
            assert {name: found.get(name) for name in exact} == exact


def test_importing_starts_nothing() -> None:
    """The names are there under nv-one-logger's module paths, and importing them starts no run and loads no SDK."""
    check = (
        "import sys; from tracelet.compat.onelogger.training_telemetry.api.context import training_loop; "
        "from tracelet.compat import onelogger; assert onelogger.training_loop is training_loop; "
        "assert not {'torch', 'lightning', 'opentelemetry', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert tracelet.get_active_experiment() is None and compat.__doc__


def test_a_rank_that_is_switched_off_records_nothing() -> None:
    """With `enable_for_current_rank=False` no run starts, and every call of the program works."""
    from tracelet.compat.onelogger import OneLoggerConfig, TrainingTelemetryProvider, application, timed_span

    provider = TrainingTelemetryProvider.instance()
    provider.with_base_config(
        OneLoggerConfig(application_name="a", world_size_or_fn=1, session_tag_or_fn="s", enable_for_current_rank=False)
    ).configure_provider()
    with application() as root, timed_span("mine") as span:
        root.add_attribute("a", 1)
        provider.recorder.error(span, "nothing", ValueError(""))
    assert tracelet.get_active_experiment() is None and not provider.one_logger_enabled
