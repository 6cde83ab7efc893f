"""Programs written for nv-one-logger run with tracelet's names, and their JSON lines hold all that theirs held."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.plugins.io import AsyncCheckpointIO

import tracelet
from tracelet.cli import main as command_line
from tracelet.telemetry import (
    OneLoggerPTLTrainer,
    application,
    configure,
    hook_trainer_cls,
    names,
    timed_span,
    training_iteration,
    training_loop,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning says about tiny loaders is not our subject

SETTINGS = {"track_git": False, "track_env": False, "track_system": False, "delivery": "off", "quiet": True}

THEIRS = Counter({
    ("start", "application"): 1, ("event", "one_logger_initialization"): 1,
    ("event", "update_training_telemetry_config"): 1, ("complete", "model_initialization"): 1,
    ("complete", "checkpoint_load"): 1, ("complete", "data_loader_initialization"): 1,
    ("complete", "optimizer_initialization"): 1, ("start", "training_loop"): 1, ("event", "training_metrics_update"): 3,
    ("start", "checkpoint_save_sync"): 1, ("event", "save_checkpoint_success"): 1,
    ("event", "sync_checkpoint_metrics_update"): 1, ("stop", "checkpoint_save_sync"): 1, ("stop", "training_loop"): 1,
    ("stop", "application"): 1,
})  # fmt: skip
"""What nv-one-logger 2.3.1 wrote for the Lightning example of its documentation, by (type, name)."""
THEIR_ATTRIBUTES: dict[str, dict[str, object]] = {
    "training_loop": {
        "train_iterations_start": 0, "train_samples_start": 0, "completed_floating_point_operations_overall": 0,
        "train_iterations_target": 32, "train_samples_target": 1024,
    },
    "checkpoint_save_sync": {
        "checkpoint_strategy": "sync", "current_iteration": 32, "save_checkpoint_attempt_count": 1,
    },
}  # fmt: skip


TIMES = {f"{which}_iteration_time_sec" for which in ("avg", "min", "max", "total")}
CATALOGUE: dict[str, set[str]] = {
    "training_loop": {
        "train_iterations_start", "train_samples_start", "train_tokens_target", "train_iterations_target",
        "train_samples_target", "completed_floating_point_operations_overall", "duration_msec",
    },
    "checkpoint_save_sync": {"checkpoint_strategy", "current_iteration", "save_checkpoint_attempt_count"},
    "one_logger_initialization": {
        "world_size", "one_logger_training_telemetry_version", "enable_for_current_rank", "session_tag", "node_name",
        "is_baseline_run", "summary_data_schema_version", "rank", "custom_metadata",
    },
    "update_training_telemetry_config": {
        "perf_tag", "global_batch_size", "log_every_n_train_iterations", "micro_batch_size", "seq_length",
        "flops_per_sample", "train_iterations_target", "train_samples_target", "checkpoint_strategy", "custom_metadata",
        "is_train_iterations_enabled", "is_validation_iterations_enabled", "is_test_iterations_enabled",
        "is_save_checkpoint_enabled", "is_log_throughput_enabled",
    },
    "training_metrics_update": {
        "train_iterations_start", "current_iteration", "num_iterations", "train_samples_start", "num_train_samples",
        "interval", *TIMES, "train_tokens", "completed_floating_point_operations_overall", "total_flops",
        "train_throughput_per_gpu", "train_throughput_per_gpu_max", "train_throughput_per_gpu_min",
        "first_logged_train_iterations_finish_timestamp_sec", "last_logged_train_iterations_finish_timestamp_sec",
        "avg_forward_time_sec", "avg_backward_time_sec", "avg_dataloader_time_sec", "avg_tflops",
        "avg_tokens_per_second", "latest_loss", "avg_batch_size",
    },
    "validation_metrics_update": {"current_iteration", "interval", *TIMES},
    "testing_metrics_update": {"current_iteration", "interval"},
    "save_checkpoint_success": {
        "checkpoint_strategy", "current_iteration", "first_successful_save_checkpoint_timestamp_sec",
        "latest_successful_save_checkpoint_timestamp_sec", "save_checkpoint_success_count",
        "productive_train_iterations", "productive_train_samples", "productive_train_iterations_sec",
        "productive_validation_iterations_sec", "productive_train_tflops", "training_start_timestamp_sec",
        "checkpoint_size", "checkpoint_directory",
    },
    "sync_checkpoint_metrics_update": {f"save_checkpoint_sync_time_{which}_sec" for which in ("total", "min", "max")},
}  # fmt: skip
"""The attributes of nv-one-logger 2.3.1 by span or event, those included that it declares and never sets."""


def run_lightning_example() -> None:
    """The example of its Lightning integration; only the import and set-up lines are changed."""
    from lightning.pytorch import LightningModule

    class SimpleModel(LightningModule):
        def __init__(self, learning_rate: float = 1e-3) -> None:
            super().__init__()
            self.learning_rate = learning_rate
            self.model = torch.nn.Sequential(torch.nn.Linear(10, 20), torch.nn.ReLU(), torch.nn.Linear(20, 1))

        def forward(self, x: Any) -> Any:
            return self.model(x)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            y_hat = self(x)
            loss = torch.nn.functional.mse_loss(y_hat, y)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            trainer: Any = self.trainer
            nv_one_logger_callback = trainer.nv_one_logger_callback
            nv_one_logger_callback.on_optimizer_init_start()
            optimizer = torch.optim.Adam(self.parameters(), lr=self.learning_rate)
            nv_one_logger_callback.on_optimizer_init_end()
            return optimizer

    tracelet.start_logging("test_app", config=SETTINGS)
    HookedTrainer, returned = hook_trainer_cls(Trainer)
    make_trainer: Any = HookedTrainer
    trainer = make_trainer(
        max_steps=32, devices=1, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False
    )
    nv_one_logger_callback = trainer.nv_one_logger_callback
    assert nv_one_logger_callback is returned
    configure(
        world_size_or_fn=5, is_log_throughput_enabled_or_fn=True, flops_per_sample_or_fn=100,
        global_batch_size_or_fn=32, log_every_n_train_iterations=10, train_iterations_target_or_fn=32,
        train_samples_target_or_fn=1024, perf_tag_or_fn="test_perf", session_tag_or_fn="test_session",
    )  # fmt: skip

    nv_one_logger_callback.on_model_init_start()
    model = SimpleModel()
    nv_one_logger_callback.on_model_init_end()

    nv_one_logger_callback.on_load_checkpoint_start()
    if os.path.exists("pretrained.ckpt"):
        model = SimpleModel.load_from_checkpoint("pretrained.ckpt")
    nv_one_logger_callback.on_load_checkpoint_end()

    nv_one_logger_callback.on_dataloader_init_start()
    train_dataset = torch.utils.data.TensorDataset(torch.randn(1000, 10), torch.randn(1000, 1))
    train_loader = torch.utils.data.DataLoader(train_dataset, batch_size=32, shuffle=True)
    nv_one_logger_callback.on_dataloader_init_end()

    trainer.fit(model, train_loader)
    nv_one_logger_callback.on_app_end()
    tracelet.stop_logging()


def exported(*options: str) -> list[dict[str, Any]]:
    """The lines that the command writes for the latest run."""
    result = CliRunner().invoke(command_line, ["trace", "latest", "--format", "onelogger", "-o", "out.jsonl", *options])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]


def name_of(record: dict[str, Any]) -> str:
    return str(record["name"] if "name" in record else record["event"]["name"])


def test_lightning_example() -> None:
    """The export of the Lightning example has every record that theirs has, as often, and the same attributes."""
    run_lightning_example()
    records = exported()
    counts = Counter(
        (record["type"], name_of(record))
        for record in records
        if not record.get("event", {}).get("attributes", {}).get("tail")
    )
    assert {key: counts[key] for key in THEIRS} == dict(THEIRS)
    for name, expected in THEIR_ATTRIBUTES.items():
        (stop,) = [record for record in records if record["type"] == "stop" and record["name"] == name]
        assert {key: stop["attributes"][key] for key in expected} == expected
    for kind in ("data_loading", "model_forward", "zero_grad", "model_backward", "optimizer_update"):
        assert counts["complete", kind] + counts["start", kind] == 32  # with a slow callback inside it is no leaf
    (initialization,) = [record for record in records if name_of(record) == "one_logger_initialization"]
    assert initialization["event"]["attributes"]["rank"] == 0
    updates = [record["event"]["attributes"] for record in records if name_of(record) == "training_metrics_update"]
    assert [update["current_iteration"] for update in updates] == [9, 19, 29, 31]
    assert [update["num_train_samples"] for update in updates] == [320, 640, 960, 1000]
    assert [update["total_flops"] for update in updates] == [32000, 64000, 96000, 100000]


def test_the_catalogue_is_complete(tmp_path: Path) -> None:
    """Every span of the catalogue is emitted, and every attribute of it by its name."""
    configure(custom_metadata={"team": "vision"}, seq_length=2, flops_per_sample=3, train_samples_target=4)
    configure(perf_tag="p", global_batch_size=1, micro_batch_size=1, train_iterations_target=4,
              is_log_throughput_enabled=True)  # fmt: skip
    tracelet.start_logging("all", config=SETTINGS)
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False,
                               "enable_model_summary": False, "max_steps": 4, "default_root_dir": tmp_path}  # fmt: skip
    model = BoringModel()
    trainer = Trainer(**options)
    trainer.fit(model)
    trainer.test(model, verbose=False, ckpt_path=trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    late = Trainer(**options, plugins=[AsyncCheckpointIO()], callbacks=[])
    late.fit(model)
    tracelet.stop_logging()
    records = exported()
    attributes: dict[str, set[str]] = {}
    for record in records:
        found = record.get("event", record).get("attributes", {})
        attributes.setdefault(name_of(record), set()).update(found)
    for name, expected in CATALOGUE.items():
        assert expected <= attributes[name], (name, expected - attributes[name])
    spans = {name for name, value in vars(names).items() if name.isupper() and isinstance(value, str)} - {"TRACEBACK"}
    emitted = {record["name"] for record in records if "name" in record}
    wanted = {getattr(names, name) for name in spans if not getattr(names, name).endswith(("_update", "_config"))}
    assert wanted - emitted == {"collective_wait", "distributed_code_initialization", "predict_loop",
                                "predict_single_iteration",
                                "one_logger_initialization", "save_checkpoint_success"}  # fmt: skip


def test_lines_form_a_tree() -> None:
    """Ids are unique, parents are there, begins and ends pair up, counts go up and times are milliseconds."""
    run_lightning_example()
    records = exported()
    assert [record["count"] for record in records] == list(range(1, len(records) + 1))
    open_spans: list[str] = []
    seen: set[str] = set()
    for record in records:
        if record["type"] in ("start", "complete"):
            assert record["id"] not in seen
            seen.add(record["id"])
            assert record.get("parent_id") == (open_spans[-1] if open_spans else None)
            assert record["start_event"]["attributes"]["timestamp_msec"] == record["start_ns"] // 1_000_000
            if record["type"] == "start":
                open_spans.append(record["id"])
        elif record["type"] == "stop":
            assert open_spans.pop() == record["id"]
            assert record["attributes"]["duration_msec"] == record["duration_ns"] // 1_000_000
        elif record["type"] == "event":
            assert record["span_id"] == open_spans[-1]
    assert not open_spans


def test_left_out_by_name() -> None:
    """Names can be left out; the children of what is left out move up."""
    run_lightning_example()
    records = exported("--deny", "training_loop,callbacks,training_single_iteration")
    spans = {record["id"]: record for record in records if "id" in record and record["type"] != "stop"}
    assert not {"training_loop", "callbacks"} & {record["name"] for record in spans.values()}
    forward = next(record for record in spans.values() if record["name"] == "model_forward")
    assert spans[forward["parent_id"]]["name"] == "application"
    only = exported("--spans", "application,training_loop")
    assert {name_of(record) for record in only if "id" in record} == {"application", "training_loop"}


def test_context_managers_example() -> None:
    """The example with context managers for a plain loop works; custom spans and attributes are where they belong."""

    @application()
    def main() -> None:
        with training_loop(train_iterations_start=0) as loop:
            loop.add_attribute("my_custom_attribute", "my_custom_value")
            for _epoch in range(2):
                for _batch in range(6):
                    with training_iteration(), timed_span("my_custom_span", span_attributes={"mine": 1}) as inner:
                        inner.add_event("my_event", value=2)

    tracelet.start_logging("test_app", config=SETTINGS)
    configure(
        world_size_or_fn=5, is_log_throughput_enabled_or_fn=True, flops_per_sample_or_fn=100,
        global_batch_size_or_fn=32, log_every_n_train_iterations=10, application_name="test_app",
        perf_tag_or_fn="test_perf", session_tag_or_fn="test_session",
    )  # fmt: skip
    main()
    tracelet.stop_logging()
    records = exported()
    counts = Counter((record["type"], name_of(record)) for record in records)
    assert counts["start", "my_custom_span"] == counts["event", "my_event"] == 12
    assert counts["stop", "training_single_iteration"] == 12
    (loop,) = [record for record in records if record["type"] == "stop" and record["name"] == "training_loop"]
    assert loop["attributes"]["my_custom_attribute"] == "my_custom_value"
    updates = [record["event"]["attributes"] for record in records if name_of(record) == "training_metrics_update"]
    assert [update["num_train_samples"] for update in updates] == [320, 384]


def test_hooking_changes_nothing_of_the_class() -> None:
    """`hook_trainer_cls` gives a class of the same name and leaves the one given as it was, for either flavour."""
    import lightning.pytorch
    import pytorch_lightning

    for given in (lightning.pytorch.Trainer, pytorch_lightning.Trainer):
        with tracelet.start_logging("hooked", config=SETTINGS):
            hooked, callback = hook_trainer_cls(given)
            assert issubclass(hooked, given) and hooked.__name__ == given.__name__
            made: Any = hooked(logger=False, enable_checkpointing=False, callbacks=None, barebones=False)
            assert made.nv_one_logger_callback is callback
            assert not hasattr(given, "nv_one_logger_callback")


def test_a_trainer_made_of_a_mapping() -> None:
    """`OneLoggerPTLTrainer` takes the arguments as a mapping, which it leaves alone, and trains like any trainer."""
    arguments = {"max_steps": 2, "logger": False, "enable_checkpointing": False, "accelerator": "cpu",
                 "enable_progress_bar": False, "enable_model_summary": False}  # fmt: skip
    before = dict(arguments)
    with tracelet.start_logging("hooked", config=SETTINGS):
        trainer = OneLoggerPTLTrainer(arguments, training_telemetry_provider=None)
        trainer.nv_one_logger_callback.on_model_init_start()
        trainer.nv_one_logger_callback.on_model_init_end()
        trainer.fit(BoringModel())
    assert arguments == before and type(trainer).__name__ == "Trainer"
    names = Counter(tracelet.open_store().run("latest").spans().names)
    assert names["training_single_iteration"] == 2 and names["model_initialization"] == 1


def test_without_a_run() -> None:
    """Without an active run everything of it does nothing, and hooking says so once."""
    _hooked, callback = hook_trainer_cls(Trainer)
    callback.on_model_init_start()
    callback.on_app_end()
    with training_loop(), training_iteration() as iteration:
        iteration.add_attribute("nobody", "listens")
        iteration.add_event("nothing", at="all")
