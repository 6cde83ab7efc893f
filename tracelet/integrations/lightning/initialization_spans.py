"""The spans of Lightning's setup before training: creating models, data loaders and optimizers, and loading
checkpoints.

Called on the user's thread by wrappers of rare calls. If the program has opened a span by hand, none is added; if it
opens one of the same name inside ours, the two become one span. So nothing is recorded twice.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.lightning.model_construction import ConstructorCall, ReturnHook, outermost_constructor
from tracelet.integrations.patching import Function, Patch
from tracelet.telemetry.names import CHECKPOINT_LOAD, DATA_LOADER_INIT, DATA_LOADING, MODEL_INIT, OPTIMIZER_INIT
from tracelet.telemetry.recording.span_recorder import ActiveSpan, SpanRecorder


class InitializationSpans:
    """Spans for the parts of a training that are created once."""

    def __init__(self, recorder: SpanRecorder) -> None:
        self._recorder = recorder

    def patches(self, root: str) -> list[Patch]:
        """The places where models, data loaders and optimizers are created and checkpoints are loaded, for one
        distribution of Lightning.
        """
        connector = f"{root}.trainer.connectors.checkpoint_connector"
        hyperparameters = f"{root}.core.mixins.hparams_mixin"
        return [
            Patch(f"{root}.core.module", "LightningModule.__init__", self._around_model),
            Patch(hyperparameters, "HyperparametersMixin.save_hyperparameters", _around_hyperparameters, True, True),
            Patch(f"{root}.core.module", "_load_from_checkpoint", self._around_load),
            Patch(connector, "_CheckpointConnector._restore_modules_and_callbacks", self._around_restore),
            Patch(f"{root}.strategies.strategy", "Strategy.setup_optimizers", self._around_optimizers),
            Patch(f"{root}.loops.fit_loop", "_FitLoop.setup_data", self._around_data),
            Patch(f"{root}.loops.evaluation_loop", "_EvaluationLoop.setup_data", self._around_data),
            Patch(f"{root}.loops.prediction_loop", "_PredictionLoop.setup_data", self._around_data),
            Patch(f"{root}.loops.training_epoch_loop", "_TrainingEpochLoop.on_run_start", self._around_epoch),
        ]

    def _around_model(self, original: Function) -> Function:
        def __init__(module: Any, *args: Any, **kwargs: Any) -> None:
            with guard("opening the span of a model's constructor"):
                self._begin_model(module, sys._getframe())
            original(module, *args, **kwargs)

        return __init__

    def _begin_model(self, module: Any, frame: FrameType) -> None:
        """The span lasts until the outermost constructor returns, which no wrapper of the base class can see.

        A frame keeps a trace function, which Python calls only while a debugger traces. The frame releases the function
        when it is destroyed, and that is the end of the span. If somebody traces already, the slot is theirs.
        """
        outermost = outermost_constructor(module, frame)
        if outermost is None or sys.gettrace() is not None or outermost.f_trace is not None:
            return
        span = self._recorder.begin_automatic(MODEL_INIT, {"class": type(module).__qualname__})
        if span is not None:
            outermost.f_trace = mark = ReturnHook(span, module)
            span.owner = ConstructorCall(mark)

    def _around(self, name: str, original: Function, attributes: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        span: ActiveSpan | None = None
        with guard(f"opening the span {name}"):
            span = self._recorder.begin_automatic(name, attributes)
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            _end(span, error)
            raise
        _end(span)
        return result

    def _around_load(self, original: Function) -> Function:
        def load_from_checkpoint(cls: Any, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
            attributes = {"path": str(checkpoint_path)}
            return self._around(CHECKPOINT_LOAD, original, attributes, cls, checkpoint_path, *args, **kwargs)

        return load_from_checkpoint

    def _around_restore(self, original: Function) -> Function:
        def restore_modules_and_callbacks(connector: Any, checkpoint_path: Any = None, *args: Any, **more: Any) -> Any:
            path = checkpoint_path or getattr(connector, "_hpc_resume_path", None)
            if not path:
                return original(connector, checkpoint_path, *args, **more)
            attributes = {"path": str(path)}
            return self._around(CHECKPOINT_LOAD, original, attributes, connector, checkpoint_path, *args, **more)

        return restore_modules_and_callbacks

    def _around_optimizers(self, original: Function) -> Function:
        def setup_optimizers(strategy: Any, *args: Any, **kwargs: Any) -> Any:
            return self._around(OPTIMIZER_INIT, original, {}, strategy, *args, **kwargs)

        return setup_optimizers

    def _around_data(self, original: Function) -> Function:
        def setup_data(loop: Any, *args: Any, **kwargs: Any) -> Any:
            # Called before every epoch, and nearly always there is nothing to do.
            if loop._combined_loader is not None and not _reloads(loop):
                return original(loop, *args, **kwargs)
            return self._around(DATA_LOADER_INIT, original, {}, loop, *args, **kwargs)

        return setup_data

    def _around_epoch(self, original: Function) -> Function:
        def on_run_start(loop: Any, *args: Any, **kwargs: Any) -> Any:
            if loop.trainer.current_epoch == 0:
                return original(loop, *args, **kwargs)
            # From the second epoch on Lightning requests a new iterator from the loader here: its workers start again.
            return self._around(DATA_LOADING, original, {"epoch_start": True}, loop, *args, **kwargs)

        return on_run_start


def _around_hyperparameters(original: Function) -> Function:
    def save_hyperparameters(holder: Any, *args: Any, **kwargs: Any) -> Any:
        # Lightning searches for the caller's frame and leaves a reference cycle around it, which would keep the
        # constructor's frame alive after it returns. Passing the same frame that it would find avoids that.
        if kwargs.get("frame") is None:
            kwargs["frame"] = sys._getframe(1)
        return original(holder, *args, **kwargs)

    return save_hyperparameters


def _reloads(loop: Any) -> bool:
    for name in ("_should_reload_train_dl", "_should_reload_val_dl"):
        if hasattr(type(loop), name):
            return bool(getattr(loop, name)) or str(getattr(loop.trainer.state.fn, "value", "fit")) != "fit"
    return True


def _end(span: ActiveSpan | None, error: BaseException | None = None) -> None:
    with guard("closing a span"):
        if span is not None:
            span.end(error)
