"""The goals of the metrics that a training monitors: the modes of its callbacks and of its learning rate schedulers.

Called on the training thread when a stage begins. Changes nothing and computes nothing.
"""

from __future__ import annotations

from typing import Any

from tracelet.integrations.metric_goals import MetricGoals


def state_monitors(goals: MetricGoals, trainer: Any) -> None:
    """What EarlyStopping, ModelCheckpoint, and any callback with a `monitor` and a `mode`, compare; ReduceLROnPlateau.

    A callback's mode is what it acts on, also where it is the default that the program has not changed.
    """
    for callback in trainer.callbacks:
        goals.state(getattr(callback, "monitor", None), getattr(callback, "mode", None))
    for config in getattr(trainer, "lr_scheduler_configs", ()):
        if getattr(config, "reduce_on_plateau", False):
            goals.state(config.monitor, getattr(config.scheduler, "mode", None))
