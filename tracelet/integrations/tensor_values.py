"""Functions for PyTorch values and batches, without importing PyTorch and without waiting for a device.

Called on the training thread, several times in every step.
"""

from __future__ import annotations

from collections import UserDict
from typing import Any

from tracelet.capture.scalars import with_stream

DEPTH = 3
"""How deep the first tensor of a batch is searched for: `[{"ids": tensor}]` is the deepest usual nesting."""


def detached(value: Any) -> Any:
    """The value as something immutable: a number, or a detached copy on its device."""
    on_cpu = getattr(value, "is_cpu", None)
    if on_cpu is None:
        return value
    return value.item() if on_cpu else with_stream(value.detach().clone())


def is_number(value: Any) -> bool:
    """Whether a logged value is a single number: Python's, numpy's, or a tensor of one element."""
    if isinstance(value, (bool, int, float)):
        return True
    count = getattr(value, "numel", None)
    if callable(count):
        return count() == 1 and not value.is_complex()
    return getattr(value, "shape", None) == () and hasattr(value, "item")


def samples_of(batch: Any) -> int:
    """The number of samples in a batch: the first dimension of its first tensor; 0 if it has none."""
    for _ in range(DEPTH):
        shape = getattr(batch, "shape", None)
        if shape is not None:
            return int(shape[0]) if len(shape) else 1
        if isinstance(batch, (list, tuple)) and batch:
            batch = batch[0]
        elif isinstance(batch, (dict, UserDict)) and batch:
            batch = next(iter(batch.values()))
        else:
            break
    return 0
