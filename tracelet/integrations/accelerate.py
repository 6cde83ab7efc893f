"""Hugging Face accelerate: values given to `Accelerator.log`, its configuration, its setup, its saved states.

Called on the user's threads. Only the main process records metrics, because only there does accelerate pass them on.
They are recorded before a tracker receives them: its TensorBoard tracker silently drops numpy floats, and without any
tracker `Accelerator.log` does nothing. Nested calls of trackers are marked as recorded.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tracelet.capture.parameter_values import to_scalar
from tracelet.guard import guard
from tracelet.integrations.base import Integration, Sink
from tracelet.integrations.metric_values import as_step, metrics_of
from tracelet.integrations.nested_calls import in_recorded_call, recorded_call
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.reported_params import ReportedParams
from tracelet.integrations.saved_files import PATIENCE, checkpoint
from tracelet.journal.records import Event

ACCELERATOR = "accelerate.accelerator"
TRACKING = "accelerate.tracking"
TRACKERS = ("Aim", "ClearML", "CometML", "DVCLive", "MLflow", "SwanLab", "TensorBoard", "Trackio", "WandB")
"""Classes `NAMETracker`; no version has all of them."""
OTHER_METHODS = ("start", "log_images", "log_table", "log_figure", "log_artifact", "log_artifacts", "finish")


class AccelerateIntegration(Integration):
    """Records the arguments of an `Accelerator` and of its methods."""

    name = "accelerate"

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        super().__init__(sink, settings)
        self._params = ReportedParams(sink, self.name)
        self._resumed: Callable[[str], None] | None = None
        self._step: int | None = None
        """The last step that the program logged: the step of a saved state."""
        self._direct: type | None = None
        """The first tracker class to which the program logs directly, without the Accelerator."""

    def watch_resumes(self, on_checkpoint: Callable[[str], None]) -> None:
        """Report the states that a program loads."""
        self._resumed = on_checkpoint

    def patches(self) -> Iterable[Patch]:
        """The methods of the Accelerator, and of the trackers, which a program may call directly."""
        yield Patch(ACCELERATOR, "Accelerator.init_trackers", self._around_init)
        yield Patch(ACCELERATOR, "Accelerator.log", self._around_log)
        yield Patch(ACCELERATOR, "Accelerator.prepare", self._around_prepare)
        yield Patch(ACCELERATOR, "Accelerator.save_state", self._around_save)
        yield Patch(ACCELERATOR, "Accelerator.load_state", self._around_load)
        for tracker in TRACKERS:
            yield Patch(TRACKING, f"{tracker}Tracker.log", self._around_tracker, optional=True)
            yield Patch(TRACKING, f"{tracker}Tracker.store_init_configuration", self._around_store, optional=True)
            for method in OTHER_METHODS:
                yield Patch(TRACKING, f"{tracker}Tracker.{method}", _passing_on, optional=True)

    def _around_init(self, original: Function) -> Function:
        def init_trackers(accelerator: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("recording the configuration of a program's trackers"):
                config = args[1] if len(args) > 1 else kwargs.get("config")
                if config and accelerator.is_main_process:
                    self._params.report(config)
            with recorded_call:
                return original(accelerator, *args, **kwargs)

        return init_trackers

    def _around_log(self, original: Function) -> Function:
        def log(accelerator: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("recording what Accelerator.log is given"):
                if accelerator.is_main_process and not in_recorded_call():
                    self._take(*args, **kwargs)
            with recorded_call:
                return original(accelerator, *args, **kwargs)

        return log

    def _around_tracker(self, original: Function) -> Function:
        def log(tracker: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("recording what a tracker of accelerate is given"):
                if not in_recorded_call() and _is_main_process() and self._is_first(tracker):
                    self._take(*args, **kwargs)
            with recorded_call:
                return original(tracker, *args, **kwargs)

        return log

    def _is_first(self, tracker: Any) -> bool:
        """A program that writes the same to each of its trackers is one source."""
        if self._direct is None:
            self._direct = type(tracker)
        return self._direct is type(tracker)

    def _around_store(self, original: Function) -> Function:
        def store_init_configuration(tracker: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("recording the configuration of a tracker of accelerate"):
                values = args[0] if args else kwargs.get("values")
                if values and not in_recorded_call() and _is_main_process():
                    self._params.report(values)
            with recorded_call:
                return original(tracker, *args, **kwargs)

        return store_init_configuration

    def _take(self, values: Mapping[str, Any], step: Any = None, *_: Any, **__: Any) -> None:
        now, at = time.time(), as_step(step)
        if at is not None:
            self._step = at
        for name, value in metrics_of(values):
            self.sink.emit((name, at, value, now))
        for name, value in values.items():
            if isinstance(value, str):
                attributes = {"tag": str(name), "step": at, "text": to_scalar(value)}
                self.sink.emit(Event(time=int(now * 1e6), name="text", attributes=attributes))

    def _around_prepare(self, original: Function) -> Function:
        def prepare(accelerator: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(accelerator, *args, **kwargs)
            with guard("recording how accelerate was set up"):
                if accelerator.is_main_process:
                    self._params.report(_setup(accelerator), "accelerate/")
            return result

        return prepare

    def _around_save(self, original: Function) -> Function:
        def save_state(accelerator: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("writing the journal before a checkpoint"):
                self.sink.flush(PATIENCE)
            with recorded_call:  # it saves through torch.save
                result = original(accelerator, *args, **kwargs)
            with guard("recording a checkpoint"):
                # With automatic names, the folder is known only afterwards, from the method's result.
                folder = result or (args[0] if args else kwargs.get("output_dir"))
                if accelerator.is_main_process and folder:
                    self.sink.emit(checkpoint(folder, {"step": self._step}))
            return result

        return save_state

    def _around_load(self, original: Function) -> Function:
        def load_state(accelerator: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(accelerator, *args, **kwargs)
            with guard("following a loaded state"):
                folder = args[0] if args else kwargs.get("input_dir")
                if folder and self._resumed is not None and accelerator.is_main_process:
                    self._resumed(os.path.abspath(folder))
            return result

        return load_state


def _setup(accelerator: Any) -> dict[str, Any]:
    """The Accelerator's setup, from its arguments and its launcher."""
    return {
        "mixed_precision": accelerator.mixed_precision,
        "gradient_accumulation_steps": accelerator.gradient_accumulation_steps,
        "num_processes": accelerator.num_processes,
        "distributed_type": str(getattr(accelerator.distributed_type, "value", accelerator.distributed_type)),
        "device": str(accelerator.device),
    }


def _is_main_process() -> bool:
    state = sys.modules["accelerate.state"].PartialState()
    return bool(state.is_main_process)


def _passing_on(original: Function) -> Function:
    def method(*args: Any, **kwargs: Any) -> Any:
        with recorded_call:
            return original(*args, **kwargs)

    return method
