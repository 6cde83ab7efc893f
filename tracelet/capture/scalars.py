"""Converts what a program logs to numbers: Python numbers, numpy scalars, one-element tensors on any device.

`checked_value` runs on the caller's thread when a program logs by name, and may raise `InvalidMetric`. `resolve` runs
on the writer thread: it reads tensors of other devices in one copy per device, on a CUDA stream of its own, so that the
training thread and its streams never wait for us. Nothing here imports torch: a tensor can only come from a loaded
torch.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Sequence
from typing import Any

from tracelet.errors import InvalidArgument, InvalidMetric

ONLY_FLOATS = {float}
MAX_EXACT = 2.0**53
"""Integers up to here are exact as floats."""
MAX_TIMEOUT = 1e9
"""Seconds; locks and queues refuse much longer ones, infinity among them."""


class RoundedInteger(float):
    """The nearest float to an integer that no float equals; the packer reports it."""

    __slots__ = ()


def checked_value(name: object, value: Any) -> Any:
    """The value as something `resolve` can read: a float at once for anything on the CPU, else a detached clone."""
    if not isinstance(name, str) or not name:
        raise InvalidMetric(f"a metric's name must be a non-empty string, not {name!r}; e.g. log_metric('loss', 0.5)")
    if isinstance(value, numbers.Real):
        return _float(name, value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _from_tensor(name, value)
    if isinstance(value, (str, bytes)) or value is None:
        raise InvalidMetric(f"{name!r} is {value!r}: a metric is one number. For strings, use log_params or set_tags")
    try:
        return _float(name, value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, AttributeError, RuntimeError):
        raise InvalidMetric(
            f"{name!r} is a {type(value).__name__}: a metric is one number. Log its mean, or one metric per element"
        ) from None


def _float(name: str, value: Any) -> float:
    try:
        number = float(value)
        if abs(number) >= MAX_EXACT and isinstance(value, numbers.Integral) and int(value) != number:
            return RoundedInteger(number)
        return number
    except OverflowError:
        # The number itself is not shown: Python refuses to print the largest ones.
        raise InvalidMetric(f"{name!r} does not fit into a float. Log its logarithm, or scale it") from None


def _from_tensor(name: str, value: Any) -> Any:
    if value.numel() != 1 or value.is_complex():
        shape = "x".join(map(str, value.shape)) or "complex"
        raise InvalidMetric(f"{name!r} is a tensor ({shape}): a metric is one real number. Log {name}.mean(), say")
    detached = value.detach()
    return _float(name, detached.item()) if detached.device.type == "cpu" else with_stream(detached.clone())


def checked_timeout(timeout: Any) -> float | None:
    """A timeout that the user gave, limited to what locks accept."""
    if timeout is None:
        return None
    if isinstance(timeout, numbers.Real) and timeout == timeout:
        return max(0.0, min(float(timeout), MAX_TIMEOUT))
    raise InvalidArgument(
        f"timeout is {timeout!r}, not a number of seconds; the run continues. E.g. stop_logging(timeout=30)"
    )


def with_stream(tensor: Any) -> Any:
    """The tensor; where another CUDA stream than the default one computes it, it remembers which, for `resolve`."""
    if tensor.is_cuda:
        cuda = sys.modules["torch"].cuda
        stream = cuda.current_stream(tensor.device)
        if stream != cuda.default_stream(tensor.device):
            tensor.tracelet_stream = stream
    return tensor


def resolve(values: Sequence[Any]) -> Sequence[float]:
    """The values as floats, in order: those given, where nothing is to do. Raises TypeError or ValueError for what is
    no number.
    """
    if set(map(type, values)) == ONLY_FLOATS:
        return values
    resolved: list[Any] = list(values)
    devices: dict[Any, list[int]] = {}
    for place, value in enumerate(resolved):
        if type(value) is float:
            continue
        device = getattr(value, "device", None)
        if getattr(device, "type", "cpu") == "cpu":
            resolved[place] = float(value.detach() if hasattr(value, "detach") else value)
        else:
            devices.setdefault((device, value.dtype), []).append(place)
    for places in devices.values():
        for place, number in zip(places, _copy_to_host([resolved[place] for place in places])):
            resolved[place] = number
    return resolved


def _copy_to_host(tensors: list[Any]) -> list[float]:
    """One copy to the host for all tensors, which share a device and a type."""
    torch = sys.modules["torch"]
    flat = [tensor.detach().reshape(()) for tensor in tensors]
    if flat[0].device.type != "cuda":
        return [float(number) for number in torch.stack(flat).to("cpu").tolist()]
    device = flat[0].device
    side = torch.cuda.Stream(device)
    # The values were queued on the training's streams: our stream, not the training's, waits for them.
    for stream in {getattr(tensor, "tracelet_stream", torch.cuda.default_stream(device)) for tensor in tensors}:
        side.wait_stream(stream)
    with torch.cuda.stream(side):
        return [float(number) for number in torch.stack(flat).tolist()]
