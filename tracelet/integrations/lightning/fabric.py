"""Metrics logged through Fabric, with or without loggers.

Called on the user's thread. `Fabric.log` and a LightningModule driven by Fabric both end in `Fabric.log_dict`, so only
that is patched. Like the trainers, Fabric is two module trees: `lightning.fabric` and `lightning_fabric`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import SeriesKey, Sink
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.tensor_values import detached, is_number

FABRICS = ("lightning.fabric", "lightning_fabric")


class FabricMetrics:
    """Records the arguments of `Fabric.log_dict`; without a step, it counts the points of each name."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls) -> None:
        self._emit = sink.emit
        self._trainer_calls = trainer_calls
        self._keys: dict[str, SeriesKey] = {}

    def patches(self, root: str) -> list[Patch]:
        """The method through which everything logged with this Fabric passes."""
        return [Patch(f"{root}.fabric", "Fabric.log_dict", self._around_log_dict)]

    def _around_log_dict(self, original: Function) -> Function:
        def log_dict(fabric: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("capturing metrics logged through Fabric"):
                self._take(*args, **kwargs)
            with self._trainer_calls.relaying():
                return original(fabric, *args, **kwargs)

        return log_dict

    def _take(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        now = time.time()
        for name, value in metrics.items():
            if is_number(value):
                key = self._keys.get(name)
                if key is None:
                    key = self._keys[name] = SeriesKey(name, reduce="mean")
                self._emit((key, step, detached(value), now, -1, None))
