"""The fit, validate, test and predict calls of this process, recorded as numbered events.

Called on the training thread by the wrappers below and by the other modules of this package, which ask
`fit_of(trainer)` for the number and for the state that they keep during one fit. It never keeps a trainer alive and
adds no callback.
"""

from __future__ import annotations

import itertools
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import SeriesKey, Sink
from tracelet.integrations.lightning.exit_status import EXIT, exit_status, is_interrupted
from tracelet.integrations.nested_calls import RecordedCall, in_recorded_call, recorded_call
from tracelet.integrations.patching import Function, Patch
from tracelet.journal.records import FAILED, FINISHED, INTERRUPTED, PREEMPTED, Event, Scalar


class Fit:
    """One call of fit, validate, test or predict, and the state that is kept during it."""

    def __init__(self, number: int, kind: str, trainer: int) -> None:
        self.number = number
        """That of the fit; of an evaluation that of what was fitted, 0 if nothing was."""
        self.kind = kind
        self.trainer = trainer
        self.began = time.monotonic()
        self.began_before_us = False
        """The fit began before we started: no wrapper of ours surrounds it to see its end."""
        self.trials = 0
        """Nesting depth inside a tuner's trials, whose metrics are not part of the run."""
        self.tuned = False
        self.status = ""
        """How it ended, once it has."""
        self.series: dict[tuple[str, str, str], SeriesKey] = {}
        self.cache: dict[Any, Any] = {}
        """For the other modules of this package, each with its own key."""

    def key(self, name: str, stage: str, reduce: str, automatic: bool = False) -> SeriesKey:
        """The key of a series within this fit."""
        found = self.series.get((name, stage, reduce))
        if found is None:
            found = self.series[name, stage, reduce] = SeriesKey(name, stage, self.number, reduce, automatic)
        return found


class TrainerCalls:
    """The calls of this process's trainers; records how the process would end."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.recording = True
        """Whether the run still records; a wrapper that somebody has kept outlives the run."""
        self._numbers = sink.fits
        self.launched = False
        """Whether this process continues a fit that the launching process began."""
        self._trainer_numbers = itertools.count(1)
        self._fits: weakref.WeakKeyDictionary[Any, list[Fit]] = weakref.WeakKeyDictionary()
        """The fits that each trainer runs, the innermost last: a hook may call `trainer.validate()` within a fit."""
        self._latest: tuple[weakref.ref[Any], Fit] | None = None
        self._trainers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self.automatic: set[str] = set()
        """Names of series that tracelet records itself, even if a callback logs them too."""
        self.preemption_notice = ""
        """The announced end, if the cluster has announced one."""
        self.before_logged: list[Callable[[Any, Fit], None]] = []
        """Called with (trainer, fit) before values that a callback gives to a logger are compared with `automatic`."""
        self.on_finish: list[Any] = []
        """Called with (trainer, fit) before a fit is recorded as finished: each returns attributes to add."""
        self.on_begin: list[Any] = []
        """Called with (trainer, fit) after a fit was recorded as begun."""

    def fit_of(self, trainer: Any) -> Fit:
        """The fit that the trainer runs; a fit that began before us is counted when first seen."""
        # Nearly always it is the same trainer again: a comparison is cheaper than a weak-key lookup.
        if self._latest is not None and self._latest[0]() is trainer:
            return self._latest[1]
        running = self._fits.get(trainer)
        if running:
            fit = running[-1]
        else:
            fit = self.begin(trainer)
            fit.began_before_us = True
        self._latest = weakref.ref(trainer), fit
        return fit

    def index_of(self, trainer: Any) -> int:
        """The trainer's number, in the order in which this process created (or first used) them, from 1."""
        index = self._trainers.get(trainer)
        if index is None:
            index = self._trainers[trainer] = next(self._trainer_numbers)
        return index

    def is_running(self, trainer: Any) -> bool:
        """Whether a fit of this trainer has begun and not ended."""
        return trainer in self._fits

    def begin(self, trainer: Any, checkpoint: str = "") -> Fit:
        """Count a new fit and record it. `checkpoint`: the file that it was told to load."""
        function = trainer.state.fn
        kind = function.value if function is not None else "fit"
        fit = Fit(self._number(trainer, kind, checkpoint), str(kind), self.index_of(trainer))
        self._fits.setdefault(trainer, []).append(fit)
        self._latest = weakref.ref(trainer), fit
        self._sink.expect("", "")
        attributes: dict[str, Scalar] = {"number": fit.number, "kind": fit.kind, "trainer": fit.trainer}
        if fit.kind == "fit":
            attributes.update(max_epochs=trainer.max_epochs, max_steps=trainer.max_steps)
        block = self._numbers.enclosing_block(fit.number)
        if block:
            attributes["block"] = block
        self.emit_event("fit_started", attributes)
        for begun in self.on_begin:
            with guard("describing the beginning of a fit"):
                begun(trainer, fit)
        return fit

    def _number(self, trainer: Any, kind: str, checkpoint: str) -> int:
        """The number of the call that begins now."""
        numbers = self._numbers
        model = getattr(trainer, "lightning_module", None)
        if kind == "fit":
            number = numbers.begin()
            numbers.remember(number, model)
            return number
        carried, numbers.carried = numbers.carried, None
        number = numbers.current() or numbers.fitted(model, path=checkpoint) if carried is None else carried
        numbers.evaluate(number)
        return number

    def launch_counts(self) -> dict[str, int]:
        """How a launched process continues: the number of fits before the running call, and its own if it evaluates."""
        running = [fit for fits in self._fits.values() for fit in fits]
        if running and running[-1].kind != "fit":
            return {"fits": self._numbers.counted, "evaluation": running[-1].number}
        return {"fits": self._numbers.counted - bool(running)}

    def restore_counts(self, counts: Mapping[str, int]) -> None:
        """In a launched process: continue from there."""
        self._numbers.counted = counts.get("fits", 0)
        self._numbers.carried = counts.get("evaluation")
        self.launched = True

    def end(self, trainer: Any, status: str, reason: str = "") -> None:
        """Record how the fit ended, with the attributes that the other modules add."""
        self._latest = None
        running = self._fits.get(trainer)
        if not running:
            return
        fit = running.pop()
        self._numbers.end(fit.number)
        if not running:
            del self._fits[trainer]
        fit.status = status
        if status == PREEMPTED and self.preemption_notice:
            reason = f"{reason} after {self.preemption_notice}"
        # An exception that the user catches ends no process, and Python itself reports an uncaught one.
        silent = status == FINISHED or (status == FAILED and not reason.startswith(EXIT))
        self._sink.expect(*(("", "") if silent else (status, reason)))
        attributes: dict[str, Scalar] = {
            "number": fit.number, "kind": fit.kind, "trainer": fit.trainer, "status": status,
            "seconds": time.monotonic() - fit.began,
        }  # fmt: skip
        if reason:
            attributes["reason"] = reason
        if fit.tuned:
            attributes["tuned"] = True
        if fit.kind == "fit":
            attributes.update(epochs=trainer.current_epoch, steps=trainer.global_step)
        for add in self.on_finish:
            with guard("describing the end of a fit"):
                attributes.update(add(trainer, fit))
        self.emit_event("fit_finished", attributes)

    def emit_event(self, name: str, attributes: dict[str, Scalar]) -> None:
        """Put an event into the run."""
        self._sink.emit(Event(time=time.time_ns() // 1000, name=name, attributes=attributes))

    @contextmanager
    def trial(self, trainer: Any) -> Iterator[None]:
        """While a tuner tries something out: Lightning's loggers receive nothing then, and neither does the run."""
        fit = self.fit_of(trainer)
        fit.trials += 1
        fit.tuned = True
        try:
            yield
        finally:
            fit.trials -= 1

    def relaying(self) -> RecordedCall:
        """While recorded values are passed to loggers, and to whatever those call, such as a SummaryWriter."""
        return recorded_call

    def is_relaying(self) -> bool:
        """Whether this thread is inside `relaying`."""
        return in_recorded_call()

    def patches(self, root: str) -> list[Patch]:
        """The beginnings and ends of fits, for one distribution of Lightning."""
        return [
            Patch(f"{root}.trainer.call", "_call_and_handle_interrupt", self._around_entry_point),
            Patch(f"{root}.trainer.trainer", "Trainer._run", self._around_run),
            Patch(f"{root}.core.module", "_load_from_checkpoint", self._around_load, optional=True),
            Patch(f"{root}.trainer.trainer", "Trainer._teardown", self._around_teardown),
            Patch(f"{root}.callbacks.lr_finder", "LearningRateFinder.lr_find", self._around_trial),
            Patch(f"{root}.callbacks.batch_size_finder", "BatchSizeFinder.scale_batch_size", self._around_trial),
        ]

    def _around_entry_point(self, original: Function) -> Function:
        def call_and_handle_interrupt(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("following the trainer"):
                self.begin(trainer, checkpoint_among(args))
            return self._follow(trainer, original, trainer, *args, **kwargs)

        return call_and_handle_interrupt

    def _around_load(self, original: Function) -> Function:
        def load_from_checkpoint(cls: Any, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
            model = original(cls, checkpoint_path, *args, **kwargs)
            with guard("finding the fit of a checkpoint"):
                number = self._numbers.fitted(path=checkpoint_among([checkpoint_path]))
                if number:
                    self._numbers.remember(number, model)
            return model

        return load_from_checkpoint

    def _around_run(self, original: Function) -> Function:
        def run(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            if self.is_running(trainer):
                return original(trainer, *args, **kwargs)
            # A spawned or forked rank starts here: the entry point ran in its parent.
            with guard("following the trainer"):
                self.begin(trainer)
            return self._follow(trainer, original, trainer, *args, **kwargs)

        return run

    def _follow(self, trainer: Any, original: Function, *args: Any, **kwargs: Any) -> Any:
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            with guard("following the trainer"):
                self.end(trainer, *exit_status(error))
            raise
        with guard("following the trainer"):
            # Lightning before 2.2 swallows a KeyboardInterrupt; only the trainer's status shows it.
            self.end(trainer, *((INTERRUPTED, "KeyboardInterrupt") if is_interrupted(trainer) else (FINISHED, "")))
        return result

    def _around_teardown(self, original: Function) -> Function:
        def teardown(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(trainer, *args, **kwargs)
            with guard("following the trainer"):
                if self.is_running(trainer) and self.fit_of(trainer).began_before_us:
                    self.end(trainer, INTERRUPTED if is_interrupted(trainer) else FINISHED)
            return result

        return teardown

    def _around_trial(self, original: Function) -> Function:
        def try_out(callback: Any, trainer: Any, *args: Any, **kwargs: Any) -> Any:
            with self.trial(trainer):
                return original(callback, trainer, *args, **kwargs)

        return try_out


def checkpoint_among(arguments: Iterable[Any]) -> str:
    """The absolute path of the checkpoint among the arguments of a trainer; empty without one, and for `best`."""
    for argument in arguments:
        if isinstance(argument, (str, os.PathLike)):
            path = os.fspath(argument)
            return path if "://" in path else os.path.abspath(path)
    return ""
