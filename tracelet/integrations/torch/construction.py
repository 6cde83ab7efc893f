"""The one-time setup of plain PyTorch: data loaders, optimizers, process groups, each as a span.

Called on the user's thread around three constructors and one function. Under Lightning these happen inside spans of its
integration, which records them already; here nothing is recorded twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.patching import Function, Patch
from tracelet.telemetry.names import DATA_LOADER_INIT, DIST_INIT, OPTIMIZER_INIT
from tracelet.telemetry.recording import active_recorder
from tracelet.telemetry.recording.span_recorder import ActiveSpan


def construction_spans() -> list[Patch]:
    """Where PyTorch makes loaders, optimizers and process groups."""
    return [
        Patch("torch.utils.data.dataloader", "DataLoader.__init__", _constructor(DATA_LOADER_INIT), direct=True),
        Patch("torch.optim.optimizer", "Optimizer.__init__", _constructor(OPTIMIZER_INIT), direct=True),
        Patch("torch.distributed.distributed_c10d", "init_process_group", _around_group, optional=True),
        Patch("torch.distributed", "init_process_group", _around_group, optional=True),
    ]


def _begin(name: str, attributes: dict[str, Any] | None = None) -> ActiveSpan | None:
    recorder = active_recorder.recorder()
    if recorder is None:
        return None
    with guard(f"opening the span {name}"):
        return recorder.begin_automatic(name, attributes)
    return None


def _end(span: ActiveSpan | None, error: BaseException | None = None) -> None:
    with guard("closing a span"):
        if span is not None:
            span.end(error)


def _constructor(name: str) -> Callable[[Function], Function]:
    """Wraps a constructor. While no run is active it only calls the original."""

    def around(original: Function) -> Function:
        def __init__(instance: Any, *args: Any, **kwargs: Any) -> None:
            if active_recorder.recorder() is None:
                original(instance, *args, **kwargs)
                return
            span = _begin(name, {"class": type(instance).__qualname__})
            try:
                original(instance, *args, **kwargs)
            except BaseException as error:
                _end(span, error)
                raise
            _end(span)

        return __init__

    return around


def _around_group(original: Function) -> Function:
    def init_process_group(*args: Any, **kwargs: Any) -> Any:
        span = _begin(DIST_INIT)
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            _end(span, error)
            raise
        _end(span)
        return result

    return init_process_group
