"""Data from the optimizers of a plain PyTorch loop: learning rates, gradient norms, their arguments and their models.

Called on the training thread before each step. Steps are counted per series, and continue where a resumed run stopped.
Never reads a device, computes no gradient norm unless requested, and keeps no optimizer alive.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping
from typing import Any

from tracelet.capture.parameters import flatten
from tracelet.guard import guard
from tracelet.integrations.base import SeriesKey, Sink
from tracelet.integrations.gradient_norm import GRADIENT_NORM, total_norm
from tracelet.integrations.model_description import describe_model, describe_optimizer, describe_scheduler
from tracelet.integrations.tensor_values import detached
from tracelet.journal.records import Facts, Params

LOSS = "backward/loss"
"""Of `track_backward_loss`."""


class _Known:
    """One optimizer that has stepped."""

    def __init__(self, optimizer: Any, index: int, name: str) -> None:
        self.reference = weakref.ref(optimizer)
        self.fit = 0
        """The fit in which it stepped last."""
        self.name = name
        self.keys: list[SeriesKey] = []
        suffix = f"/{index}" if index else ""
        self.norm = SeriesKey(GRADIENT_NORM + suffix, "train", None, "mean", True)
        self.steps = 0

    def series(self, groups: list[dict[str, Any]]) -> list[SeriesKey]:
        """A series for each parameter group, named as Lightning's LearningRateMonitor would."""
        if len(groups) != len(self.keys):
            names = [str(group.get("name", f"pg{place}")) for place, group in enumerate(groups, 1)]
            several = len(groups) > 1
            self.keys = [
                SeriesKey(
                    f"{self.name}/{name}" if several or "name" in group else self.name, "train", None, "synced", True
                )
                for name, group in zip(names, groups)
            ]
        return self.keys


class OptimizerRecords:
    """Learning rates and gradient norms at every step of every optimizer, and its description once."""

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        self._sink = sink
        self._emit = sink.emit
        self._rates = bool(settings.get("track_learning_rate", True))
        self._gradients = bool(settings.get("track_gradients", False))
        self._known: dict[int, _Known] = {}
        self._names: dict[str, int] = {}
        self._fits = sink.fits
        self._fit = 0
        """The fit to which the numbers in `_names` belong."""
        self._norms: list[tuple[Any, float]] = []
        """Gradient norms computed for clipping since the last step: (norm, kind of norm)."""
        self._loss = SeriesKey(LOSS, "train", None, "mean", True) if settings.get("track_backward_loss") else None
        self.models: dict[int, weakref.ref[Any]] = {}
        """By the id of an optimizer, the model whose parameters it was created with."""
        self.schedulers: list[tuple[weakref.ref[Any], weakref.ref[Any]]] = []
        """(optimizer, scheduler) pairs that were created and are not described yet."""
        self.steps = 0
        """Steps of the first optimizer: the step of a checkpoint."""

    def differentiate(self, tensors: Any) -> None:
        """A backward pass begins: record its value if requested."""
        if self._loss is not None and tensors:
            value = tensors[0] if isinstance(tensors, (tuple, list)) else tensors
            if getattr(value, "numel", lambda: 0)() == 1:
                self._emit((self._loss, None, detached(value), time.time(), -1, None))

    @property
    def records_loss(self) -> bool:
        """Whether the value that a backward pass starts from is recorded."""
        return self._loss is not None

    def clipped(self, norm: Any, kind: float) -> None:
        """A norm of gradients was computed to clip them."""
        self._norms.append((norm, kind))

    def step(self, optimizer: Any) -> None:
        """The optimizer is about to step."""
        known = self._known.get(id(optimizer))
        if known is None or known.fit != self._fits.number or known.reference() is not optimizer:
            known = self._meet(optimizer)
        known.steps += 1
        if known.norm.name == GRADIENT_NORM:
            self.steps = known.steps
        now = time.time()
        if self._rates:
            groups = optimizer.param_groups
            for key, group in zip(known.series(groups), groups):
                rate = group.get("lr")
                if rate is not None:
                    self._emit((key, None, rate if type(rate) is float else detached(rate), now, -1, None))
        if not self._norms and not self._gradients:
            return
        norms, self._norms = self._norms, []
        # If there are several norms, or other kinds than the 2-norm, it is unknown which is the total.
        norm = norms[0][0] if len(norms) == 1 and float(norms[0][1]) == 2.0 else None
        if norm is None and self._gradients and not norms:
            norm = total_norm(optimizer)
        if norm is not None:
            self._emit((known.norm, None, detached(norm), now, -1, None))

    def skipped(self) -> None:
        """A step was skipped because its gradients were not finite: their norm belongs to no step."""
        self._norms.clear()

    def _meet(self, optimizer: Any) -> _Known:
        """An optimizer's first step in this fit; its optimizers are numbered from 0."""
        fit = self._fits.number
        known = self._known.get(id(optimizer))
        if not fit and known is not None and known.reference() is optimizer:
            known.fit = fit  # a step between two fits
            return known
        if fit and fit != self._fit:
            self._names.clear()
            self._fit = fit
        kind = type(optimizer).__name__
        count = self._names[kind] = self._names.get(kind, 0) + 1
        index = sum(self._names.values()) - 1
        name = f"lr-{kind}" if count == 1 else f"lr-{kind}-{count - 1}"
        known = self._known[id(optimizer)] = _Known(optimizer, index, name)
        known.fit = fit
        with guard("describing an optimizer"):
            self._describe(optimizer, index)
        return known

    def _describe(self, optimizer: Any, index: int) -> None:
        described: dict[str, Any] = {f"optimizer/{index}": describe_optimizer(optimizer)}
        mine = [scheduler() for owner, scheduler in self.schedulers if owner() is optimizer]
        self.schedulers = [pair for pair in self.schedulers if pair[0]() not in (None, optimizer)]
        for place, scheduler in enumerate(one for one in mine if one is not None):
            name = f"scheduler/{index}" if len(mine) == 1 else f"scheduler/{index}/{place}"
            described[name] = describe_scheduler(scheduler)
        self._tell(described, "optimizer")
        self.models = {key: known for key, known in self.models.items() if known() is not None}
        reference = self.models.get(id(optimizer))
        model = reference() if reference is not None else None
        if model is not None:
            facts = describe_model(unwrapped(model))
            counts = {name: facts[name] for name in ("class", "parameters", "trainable_parameters")}
            self._tell({"model" if not index else f"model/{index}": counts}, "model")
            if not index:
                fit = self._fits.current()
                self._sink.emit(Facts(time=time.time_ns() // 1000, topic="model", values=facts, fit=fit))

    def _tell(self, values: dict[str, Any], source: str) -> None:
        fit = self._fits.current()
        self._sink.emit(Params(time=time.time_ns() // 1000, values=flatten(values), source=source, fit=fit))


def unwrapped(model: Any) -> Any:
    """The model inside DistributedDataParallel and inside the result of `torch.compile`."""
    for name in ("_orig_mod", "module"):
        inner = vars(model).get("_modules", {}).get(name)
        if inner is not None and len(vars(model)["_modules"]) == 1:
            model = inner
    return model
