"""skorch: a net's history, epoch by epoch and batch by batch, its parameters and its checkpoints.

Called on the training thread after the net's own callbacks, because those add to the history. The record of an epoch is
the history's row under its own names, at the epoch's number; that of a batch has the prefix `batch/`. Values that
skorch's loggers pass on to TensorBoard, wandb and others are marked as recorded. Computes nothing and adds no callback.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import Integration, Sink
from tracelet.integrations.fits import Fit, Fits
from tracelet.integrations.metric_values import as_metric
from tracelet.integrations.nested_calls import recorded_call
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.reported_params import ReportedParams
from tracelet.integrations.saved_files import checkpoint
from tracelet.journal.records import Scalar

LOGGERS = ("NeptuneLogger", "WandbLogger", "TensorBoard", "SacredLogger", "MlflowLogger")
EVENTS = ("initialize", "on_train_begin", "on_batch_end", "on_epoch_end", "on_train_end")
NOT_METRICS = ("batches", "epoch")
"""Entries of a row that are its nested rows and its step."""
NOT_PARAMETERS = (
    "callbacks",
    "verbose",
    "module",
    "criterion",
    "optimizer",
    "iterator_train",
    "iterator_valid",
    "dataset",
)
"""Arguments of a net that are classes or objects: their names are recorded separately."""
TRAINING, EVALUATING = "train", "validate"


class SkorchIntegration(Integration):
    """Records the history of every net that is fitted."""

    name = "skorch"

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        super().__init__(sink, settings)
        self._fits = Fits(sink, self.name)
        self._params = ReportedParams(sink, self.name)
        self._outside = Fit(0)
        self._batches: dict[str, int] = {}
        """The number of batches of each kind in the running fit."""

    def patches(self) -> Iterable[Patch]:
        """The methods that fit a net and call its callbacks, and the callbacks that pass values on."""
        yield Patch("skorch.net", "NeuralNet.fit_loop", self._around_fit)
        yield Patch("skorch.net", "NeuralNet.notify", self._around_notify)
        yield Patch("skorch.callbacks.training", "Checkpoint.save_model", self._around_save)
        for logger in LOGGERS:
            for event in EVENTS:
                yield Patch("skorch.callbacks.logging", f"{logger}.{event}", _handing_on, optional=True)

    def _around_fit(self, original: Function) -> Function:
        def fit_loop(net: Any, *args: Any, **kwargs: Any) -> Any:
            self._batches.clear()
            attributes: dict[str, Scalar] = {}
            with guard("describing a training"):
                attributes["max_epochs"] = int(net.max_epochs)

            def finishing() -> dict[str, Scalar]:
                return {"epochs": net.history[-1]["epoch"] if len(net.history) else 0}

            with self._fits.fit("fit", (net,), finishing, **attributes):
                with guard("recording the parameters of a net"):
                    self._report(net)
                return original(net, *args, **kwargs)

        return fit_loop

    def _report(self, net: Any) -> None:
        values = net.get_params(deep=False)
        named = {name: value for name, value in values.items() if name not in NOT_PARAMETERS and name[0] != "_"}
        self._params.report(named)
        # An object is represented by its class: its text would be pages.
        kinds = {name: values[name] for name in ("module", "criterion", "optimizer") if values.get(name) is not None}
        self._params.report({name: kind if isinstance(kind, type) else type(kind) for name, kind in kinds.items()})

    def _around_notify(self, original: Function) -> Function:
        def notify(net: Any, method_name: str, *args: Any, **kwargs: Any) -> Any:
            result = original(net, method_name, *args, **kwargs)
            if method_name == "on_batch_end":
                with guard("recording a batch of skorch"):
                    self._take_batch(net.history[-1]["batches"][-1], TRAINING if kwargs.get("training") else EVALUATING)
            elif method_name == "on_epoch_end":
                with guard("recording an epoch of skorch"):
                    self._take_epoch(net.history[-1])
            return result

        return notify

    def _take_batch(self, row: Mapping[str, Any], stage: str) -> None:
        step = self._batches.get(stage, 0)
        self._batches[stage] = step + 1
        fit, now, prefix = self._fits.current or self._outside, time.time(), _prefix(stage)
        for name, value in row.items():
            if name.startswith(prefix) and (metric := as_metric(value)) is not None:
                self.sink.emit((fit.key(f"batch/{name}", stage), step, metric, now, -1, None))

    def _take_epoch(self, row: Mapping[str, Any]) -> None:
        fit, now, epoch = self._fits.current or self._outside, time.time(), int(row["epoch"])
        for name, value in row.items():
            if name in NOT_METRICS or (metric := as_metric(value)) is None:
                continue
            stage = EVALUATING if name.startswith(_prefix(EVALUATING)) else TRAINING
            self.sink.emit((fit.key(name, stage), epoch, metric, now, epoch, None))

    def _around_save(self, original: Function) -> Function:
        def save_model(callback: Any, net: Any, *args: Any, **kwargs: Any) -> Any:
            with recorded_call:  # it saves through torch.save
                result = original(callback, net, *args, **kwargs)
            with guard("recording a checkpoint"):
                metadata: dict[str, Scalar] = {"epoch": net.history[-1]["epoch"] if len(net.history) else 0}
                if self._fits.current is not None:
                    metadata["fit"] = self._fits.current.number
                if isinstance(callback.monitor, str):
                    metadata["monitor"] = callback.monitor
                for kind, path in callback.get_formatted_files(net).items():
                    if isinstance(path, str):
                        self.sink.emit(checkpoint(path, {**metadata, "holds": kind.removeprefix("f_")}))
            return result

        return save_model


def _prefix(stage: str) -> str:
    return "train_" if stage == TRAINING else "valid_"


def _handing_on(original: Function) -> Function:
    def method(*args: Any, **kwargs: Any) -> Any:
        with recorded_call:
            return original(*args, **kwargs)

    return method
