"""The types of the collectors' facts, so that callers need not check them. Used by `Run` and `Fit`.

A journal may come from anywhere: a value of another type than its collector produces is omitted. Values not listed here
may be anything, and callers convert them to text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tracelet.journal.journal_view import JournalView
from tracelet.journal.records import Facts

NUMBER = (int, float)
SHAPES: dict[str, dict[str, Any]] = {
    "git": {"commit": str, "branch": str, "subject": str, "diff": str, "remotes": {}, "submodules": {},
            "untracked": list, "untracked_count": int},
    "environment": {"python": {}, "platform": {}, "machine": {"memory_bytes": NUMBER, "cpu_count": NUMBER}, "torch": {},
                    "packages": {}, "command": {}, "job": {}},
}  # fmt: skip
"""Topic to name to type; a table stands for itself, with the types of some of its entries."""


def latest(views: Iterable[JournalView], topic: str, fit: int | None = None) -> dict[str, Any]:
    """The facts of a topic, of one fit if given; of several journals the last that has any counts."""
    found: dict[str, Any] = {}
    for view in views:
        for record in view.records(Facts):
            if record.topic == topic and fit in (None, record.fit):
                found = record.values
    return matching(topic, found)


def matching(topic: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that have the shape that they should have, or are None."""
    return _matching(values, SHAPES.get(topic, {}))


def _matching(values: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        shape = shapes.get(name, object)
        if isinstance(shape, dict):
            if isinstance(value, dict):
                found[str(name)] = _matching(value, shape)
        elif value is None or isinstance(value, shape):
            found[str(name)] = value
    return found
