"""Checks what a program says of a metric with `define_metric`. On the user's thread; records nothing itself."""

from __future__ import annotations

from typing import Any

from tracelet.capture.clock import now
from tracelet.capture.sanitize import storable_text
from tracelet.errors import InvalidArgument
from tracelet.journal.metric_definition import MAX, MIN, SUMMARIES, MetricDefinition

GOALS = {"min": MIN, "max": MAX, "minimize": MIN, "maximize": MAX}
"""What users may write; W&B's words for it are the longer ones."""
EXAMPLE = "Example: define_metric('val/wer', goal='min')"


def checked_definition(name: Any, goal: Any, x: Any, summary: Any) -> MetricDefinition:
    """The definition as a record; `InvalidArgument` for a word that has no meaning."""
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"a metric is defined by its name, not by {name!r}. {EXAMPLE}")
    if x is not None and (not isinstance(x, str) or not x):
        raise InvalidArgument(f"x={x!r} is not an axis: it is step, epoch, time, relative, or the name of a metric")
    return MetricDefinition(
        time=now(), name=storable_text(name), goal=GOALS[_word("goal", goal, tuple(GOALS))] if goal is not None else "",
        x=storable_text(x or ""), summary="" if summary is None else _word("summary", summary, SUMMARIES),
    )  # fmt: skip


def _word(what: str, given: Any, words: tuple[str, ...]) -> str:
    if not isinstance(given, str) or given not in words:
        raise InvalidArgument(f"{what}={given!r} has no meaning: it is one of {', '.join(words)}. {EXAMPLE}")
    return given
