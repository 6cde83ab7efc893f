"""The record of what is known of a metric besides its points: its goal, its axis, and the value that summarizes it.

Written by the session and by integrations, on the writer's thread like every record; read by everybody.
"""

from __future__ import annotations

from tracelet.journal.record_base import Int64, Record

MIN, MAX = "min", "max"
GOALS = (MIN, MAX)
SUMMARIES = ("last", "min", "max", "best")
AXES = ("step", "epoch", "time", "relative")
"""What every point has; any other axis is the name of a metric."""


class MetricDefinition(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A later record replaces the fields that it states, and leaves the others."""

    time: Int64
    name: str
    """A metric, or a pattern such as `val/*`."""
    goal: str = ""
    """`min` where lower is better, `max` where higher is better; empty: not stated."""
    x: str = ""
    """One of `AXES`, or the metric that is its x axis; empty: not stated."""
    summary: str = ""
    """One of `SUMMARIES`: the value that stands for the series in lists; empty: not stated."""
    source: str = "user"
    """Who said so: user, lightning, torchmetrics, transformers, wandb, ..."""
