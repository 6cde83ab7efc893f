"""Hugging Face's Trainer: its log at its steps, its arguments, the model's configuration, its checkpoints.

Called on the training thread when the Trainer begins, logs and saves, never in a step between. The record equals
`Trainer.state.log_history`, name by name and step by step. Values that the Trainer's own reporters (`report_to`) pass
on to TensorBoard, wandb and others are marked as recorded. Reads no tensor and adds no callback.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tracelet.guard import guard, say
from tracelet.integrations.base import Integration, Sink
from tracelet.integrations.fits import Fit, Fits
from tracelet.integrations.metric_goals import MetricGoals
from tracelet.integrations.metric_values import as_metric
from tracelet.integrations.nested_calls import recorded_call
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.reported_params import ReportedParams
from tracelet.integrations.saved_files import PATIENCE, checkpoint
from tracelet.journal.metric_definition import MAX, MIN
from tracelet.journal.records import Notice, Scalar

TRAINER = "transformers.trainer"
REPORTERS = (
    "AzureML", "ClearML", "Comet", "DVCLive", "DagsHub", "Flyte", "MLflow", "Neptune", "SwanLab", "TensorBoard",
    "Trackio", "Wandb",
)  # fmt: skip
"""Classes `NAMECallback` that pass the log on to a tracker; no version has all of them."""
REPORTING = ("setup", "on_train_begin", "on_log", "on_evaluate", "on_predict", "on_save", "on_train_end")
STAGES = {"eval_": "validate", "test_": "test"}


class TransformersIntegration(Integration):
    """Records the log of `transformers.Trainer` and its subclasses (trl's, for example)."""

    name = "transformers"

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        super().__init__(sink, settings)
        self._fits = Fits(sink, self.name)
        self._params = ReportedParams(sink, self.name)
        self._resumed: Callable[[str], None] | None = None
        self._goals = MetricGoals(sink, self.name)
        self._outside = Fit(0)
        """For values logged outside a training or an evaluation."""

    def watch_resumes(self, on_checkpoint: Callable[[str], None]) -> None:
        """Report the checkpoints from which trainings resume."""
        self._resumed = on_checkpoint

    def patches(self) -> Iterable[Patch]:
        """The methods in which the Trainer begins, logs and saves, and the callbacks that report."""
        yield Patch(TRAINER, "Trainer.train", self._around("fit"))
        yield Patch(TRAINER, "Trainer.evaluate", self._around("validate"))
        yield Patch(TRAINER, "Trainer.predict", self._around("predict"))
        yield Patch(TRAINER, "Trainer._save_checkpoint", self._around_save)
        yield Patch("transformers.trainer_callback", "CallbackHandler.on_train_begin", self._around_begin)
        yield Patch("transformers.trainer_callback", "CallbackHandler.on_log", self._around_log)
        for reporter in REPORTERS:
            for method in REPORTING:
                target = f"{reporter}Callback.{method}"
                yield Patch("transformers.integrations.integration_utils", target, _reporting, optional=True)

    def _around(self, kind: str) -> Callable[[Function], Function]:
        def around(original: Function) -> Function:
            def run(trainer: Any, *args: Any, **kwargs: Any) -> Any:
                if kind != "fit" and self._fits.running:
                    return original(trainer, *args, **kwargs)  # an evaluation within a training is part of it
                state = trainer.state
                attributes: dict[str, Scalar] = {}
                with guard("describing a training"):
                    if kind == "fit":
                        attributes = {"max_steps": trainer.args.max_steps, "max_epochs": trainer.args.num_train_epochs}
                        self._trace_resumption(trainer, *args, **kwargs)

                def finishing() -> dict[str, Scalar]:
                    return _progress(trainer.state) if kind == "fit" else {"steps": state.global_step}

                with self._fits.fit(kind, (trainer.model, trainer), finishing, **attributes):
                    return original(trainer, *args, **kwargs)

            return run

        return around

    def _trace_resumption(self, trainer: Any, resume_from_checkpoint: Any = None, *_: Any, **__: Any) -> None:
        if not resume_from_checkpoint or self._resumed is None:
            return
        if resume_from_checkpoint is True:
            utilities = sys.modules["transformers.trainer_utils"]
            resume_from_checkpoint = utilities.get_last_checkpoint(trainer.args.output_dir)
        if isinstance(resume_from_checkpoint, (str, os.PathLike)):
            path = os.path.abspath(resume_from_checkpoint)
            self._resumed(path)

    def _around_begin(self, original: Function) -> Function:
        def on_train_begin(handler: Any, args: Any, *rest: Any, **kwargs: Any) -> Any:
            with guard("recording TrainingArguments"):
                self._params.report(args.to_dict(), "training_args/")
                self._state_goal(args)
                config: Any = getattr(handler.model, "config", None)
                if hasattr(config, "to_dict"):
                    self._params.report(config.to_dict(), "model_config/")
            return original(handler, args, *rest, **kwargs)

        return on_train_begin

    def _state_goal(self, args: Any) -> None:
        """The metric that chooses the best checkpoint; the Trainer adds `eval_` to its name in the same way."""
        name = args.metric_for_best_model
        if name and args.greater_is_better is not None:
            name = name if name.startswith("eval_") else f"eval_{name}"
            self._goals.state(name, MAX if args.greater_is_better else MIN)

    def _around_log(self, original: Function) -> Function:
        def on_log(handler: Any, args: Any, state: Any, *rest: Any, **kwargs: Any) -> Any:
            with guard("recording the Trainer's log"):
                if state.log_history:
                    self._take(state.log_history[-1], args)
            return original(handler, args, state, *rest, **kwargs)

        return on_log

    def _take(self, row: Mapping[str, Any], args: Any) -> None:
        fit, now, step = self._fits.current or self._outside, time.time(), int(row["step"])
        epoch = row.get("epoch")
        at = -1 if epoch is None else int(epoch)
        for name, value in row.items():
            metric = as_metric(value)
            if name == "step" or metric is None:
                continue
            stage = next((stage for prefix, stage in STAGES.items() if name.startswith(prefix)), "train")
            # The Trainer has already reduced its values over all ranks.
            self.sink.emit((fit.key(name, stage, "synced"), step, metric, now, at, None))
        self._check_filter(row, args)

    def _check_filter(self, row: Mapping[str, Any], args: Any) -> None:
        """The Trainer replaces NaN and infinite losses before it logs their mean: only the gradients show them."""
        loss, norm = row.get("loss"), row.get("grad_norm")
        if not (isinstance(loss, float) and isinstance(norm, float) and getattr(args, "logging_nan_inf_filter", False)):
            return
        if math.isfinite(loss) and not math.isfinite(norm):
            message = (
                f"at step {row['step']} grad_norm is {norm} and loss {loss}: transformers replaces losses that are NaN "
                "or infinite in its log; TrainingArguments(logging_nan_inf_filter=False) shows them"
            )
            if not self._params.once("filtered"):
                return
            self.sink.emit(Notice(time=time.time_ns() // 1000, code="filtered", message=message))
            say(f"{message}.")

    def _around_save(self, original: Function) -> Function:
        def save_checkpoint(trainer: Any, model: Any, trial: Any = None, *args: Any, **kwargs: Any) -> Any:
            with guard("writing the journal before a checkpoint"):
                self.sink.flush(PATIENCE)
            with recorded_call:  # it saves through torch.save
                result = original(trainer, model, trial, *args, **kwargs)
            with guard("recording a checkpoint"):
                if trainer.state.is_world_process_zero:
                    self._record(trainer, trainer._get_output_dir(trial=trial))
            return result

        return save_checkpoint

    def _record(self, trainer: Any, folder: str) -> None:
        state = trainer.state
        path = os.path.join(folder, f"checkpoint-{state.global_step}")
        metadata: dict[str, Scalar] = {"step": state.global_step, "epoch": state.epoch}
        if self._fits.current is not None:
            metadata["fit"] = self._fits.current.number
        if trainer.args.metric_for_best_model:
            metadata["monitor"] = trainer.args.metric_for_best_model
            metadata["best"] = state.best_model_checkpoint == path
        self.sink.emit(checkpoint(path, metadata))


def _progress(state: Any) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {"steps": state.global_step, "epochs": state.epoch}
    if state.best_model_checkpoint:
        found["best_checkpoint"] = os.path.abspath(state.best_model_checkpoint)
        found["best_score"] = state.best_metric
    return found


def _reporting(original: Function) -> Function:
    def report(*args: Any, **kwargs: Any) -> Any:
        with recorded_call:
            return original(*args, **kwargs)

    return report
