"""pytorch-ignite: the metrics and the numeric output of every engine, at the trainer's iterations.

Called on the training thread after the handlers of an event have run. An evaluator counts its own iterations and epochs
from 1 in every run, so its values are recorded at the iteration of the trainer in which it runs (or that ran last). The
first engine that runs keeps its names unchanged; each other engine, and each further data set of an engine, has a label
as a prefix. Adds no handler and changes no engine.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tracelet.capture.sink import SeriesKey
from tracelet.guard import guard
from tracelet.integrations.base import Integration, Sink
from tracelet.integrations.fits import Fits
from tracelet.integrations.metric_values import as_metric, metrics_of
from tracelet.integrations.nested_calls import recorded_call
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.reported_params import ReportedParams
from tracelet.integrations.saved_files import PATIENCE, checkpoint
from tracelet.journal.records import Scalar

ENGINE = "ignite.engine.engine"
OUTPUT = "output"
"""The name for the result of an engine's function, if it is one number."""
TAKEN = frozenset({"iteration_completed", "epoch_completed", "completed"})
"""Events after which metrics may have been computed."""
EVALUATOR, OTHER = "evaluator", "engine"


@dataclass
class EngineRecord:
    """The state kept for one engine."""

    label: str
    sets: dict[int, str] = field(default_factory=dict)
    """Data set to the prefix of the names of metrics computed on it."""
    last: dict[str, Any] = field(default_factory=dict)
    """The last recorded value of each metric: the same object is not a new value."""
    keys: dict[str, SeriesKey] = field(default_factory=dict)
    prefix: str = ""
    running: int = 0


class IgniteIntegration(Integration):
    """Records the metrics of engines."""

    name = "ignite"

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        super().__init__(sink, settings)
        self._fits = Fits(sink, self.name)
        self._params = ReportedParams(sink, self.name)
        self._engines: weakref.WeakKeyDictionary[Any, EngineRecord] = weakref.WeakKeyDictionary()
        self._labels: set[str] = set()
        self._stack: list[Any] = []
        """The running engines, the innermost last."""
        self._trainer: weakref.ref[Any] | None = None

    def patches(self) -> Iterable[Patch]:
        """The methods that run engines, fire events and save their checkpoints."""
        yield Patch(ENGINE, "Engine.run", self._around_run)
        yield Patch(ENGINE, "Engine._fire_event", self._around_event)
        yield Patch("ignite.metrics.metric", "Metric.completed", self._around_completed)
        yield Patch("ignite.handlers.checkpoint", "DiskSaver.__call__", self._around_save)

    def _around_run(self, original: Function) -> Function:
        def run(engine: Any, *args: Any, **kwargs: Any) -> Any:
            record: EngineRecord | None = None
            with guard("recording an engine of ignite"):
                record = self._meet(engine)
            if record is None:
                return original(engine, *args, **kwargs)
            self._stack.append(engine)
            try:
                if self._stack[0] is not engine or record.label.startswith(EVALUATOR):
                    return original(engine, *args, **kwargs)

                def finishing() -> dict[str, Scalar]:
                    return {"epochs": engine.state.epoch, "steps": engine.state.iteration}

                with self._fits.fit("fit", (engine,), finishing):
                    return original(engine, *args, **kwargs)
            finally:
                self._stack.remove(engine)

        return run

    def _meet(self, engine: Any) -> EngineRecord:
        """The record of an engine; at its first run it gets its label."""
        record = self._engines.get(engine)
        if record is None:
            if self._trainer is None:
                self._trainer = weakref.ref(engine)
                record = EngineRecord("")
            else:
                record = EngineRecord(self._unique(_original_name(engine) or (EVALUATOR if self._stack else OTHER)))
            self._engines[engine] = record
        return record

    def _unique(self, label: str) -> str:
        candidate, number = label, 1
        while candidate in self._labels:
            number += 1
            candidate = f"{label}-{number}"
        self._labels.add(candidate)
        return candidate

    def _around_completed(self, original: Function) -> Function:
        def completed(metric: Any, engine: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            result = original(metric, engine, name, *args, **kwargs)
            with guard("recording the metrics of ignite"):
                record = self._engines.get(engine)
                if record is not None:
                    # Python may reuse one object for equal numbers; a recomputed value is new all the same.
                    record.last.pop(name, None)
            return result

        return completed

    def _around_event(self, original: Function) -> Function:
        def fire_event(engine: Any, event_name: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(engine, event_name, *args, **kwargs)
            if getattr(event_name, "value", None) in TAKEN:
                with guard("recording the metrics of ignite"):
                    record = self._engines.get(engine)
                    if record is not None:
                        self._take(engine, record, event_name.value)
            return result

        return fire_event

    def _take(self, engine: Any, record: EngineRecord, event: str) -> None:
        state = engine.state
        fresh = {name: value for name, value in state.metrics.items() if self._is_new(record, name, value)}
        if event == "iteration_completed":
            fresh = {**_numbers_of(state.output), **fresh}
        elif event == "epoch_completed" and state.epoch == 1:
            length = {"epoch_length": state.epoch_length, "max_epochs": state.max_epochs}
            self._params.report(length, self._about(record))
        if not fresh:
            return
        step, epoch = self._place(engine)
        prefix, now = self._prefix(record, state), time.time()
        for name, value in metrics_of(fresh):
            self.sink.emit((self._key(record, f"{prefix}{name}"), step, value, now, epoch, None))

    def _is_new(self, record: EngineRecord, name: str, value: Any) -> bool:
        """Metrics stay in the state after they were computed, during the next iterations: they are recorded once."""
        if record.last.get(name, record) is value:
            return False
        record.last[name] = value
        return True

    def _about(self, record: EngineRecord) -> str:
        return f"ignite/{record.label}/" if record.label else "ignite/"

    def _place(self, engine: Any) -> tuple[int | None, int]:
        """Step and epoch: the trainer's for an engine that evaluates, the engine's own otherwise."""
        trainer = self._trainer() if self._trainer is not None else None
        outer = self._stack[0] if self._stack else None
        if outer is not None and outer is not engine:
            return outer.state.iteration, outer.state.epoch
        if trainer is not None and trainer is not engine and engine.state.max_epochs == 1:
            return trainer.state.iteration, trainer.state.epoch
        return engine.state.iteration, engine.state.epoch

    def _prefix(self, record: EngineRecord, state: Any) -> str:
        """An evaluator that runs on several data sets has a series for each; a loader is identified by its data set."""
        if not record.label:
            return ""
        data = getattr(state.dataloader, "dataset", None)
        prefix = record.sets.get(id(data))
        if prefix is None:
            label = record.label if not record.sets else self._unique(record.label)
            prefix = record.sets[id(data)] = f"{label}/"
        return prefix

    def _key(self, record: EngineRecord, name: str) -> SeriesKey:
        fit = self._fits.current
        number = fit.number if fit is not None else 0
        key = record.keys.get(name)
        if key is None or key.fit != number:
            stage = "validate" if record.label.startswith(EVALUATOR) else "" if record.label else "train"
            key = record.keys[name] = SeriesKey(name, stage, number)
        return key

    def _around_save(self, original: Function) -> Function:
        def save(saver: Any, held: Any, filename: str, *args: Any, **kwargs: Any) -> Any:
            with guard("writing the journal before a checkpoint"):
                self.sink.flush(PATIENCE)
            with recorded_call:  # it saves through torch.save
                result = original(saver, held, filename, *args, **kwargs)
            with guard("recording a checkpoint"):
                self._record(saver, filename, args[0] if args else kwargs.get("metadata"))
            return result

        return save

    def _record(self, saver: Any, filename: str, about: Any) -> None:
        metadata: dict[str, Scalar] = {}
        if self._stack:
            metadata["step"], metadata["epoch"] = self._place(self._stack[-1])
        if self._fits.current is not None:
            metadata["fit"] = self._fits.current.number
        if isinstance(about, Mapping) and about.get("score_name"):
            metadata["monitor"], metadata["score"] = str(about["score_name"]), about.get("priority")
        self.sink.emit(checkpoint(saver.dirname / filename, metadata))


def _numbers_of(output: Any) -> Mapping[str, Any]:
    """The result of an engine's function, by name; nothing for tensors of predictions and the like."""
    if isinstance(output, Mapping):
        return output
    return {OUTPUT: output} if as_metric(output) is not None else {}


def _original_name(engine: Any) -> str:
    """The name of the logger that the program gave to an engine, as in ignite's examples: `Train Evaluator`."""
    name = str(getattr(engine.logger, "name", ""))
    return "" if name.startswith("ignite.") else name.strip("/")
