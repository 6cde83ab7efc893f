"""Points as rows of a Weights & Biases history. Used by the `wandb` backend on the courier's thread."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tracelet.backends.base import Batch
from tracelet.backends.legal_names import legal_name

HIDDEN = re.compile(r"^_")
"""Weights & Biases reserves names with a leading underscore."""
MAX_NAME_LENGTH = 1000
TIME = "_timestamp"

Row = dict[str, Any]


def column(name: str, axis: str) -> str:
    """The metric's name as a column; never that of the axis or of the SDK's own."""
    return legal_name(name if name != axis else f"_{name}", HIDDEN, MAX_NAME_LENGTH, "hidden_")


def batch_rows(batch: Batch, axis: str) -> Iterator[Row]:
    """Points of the same step and moment share a row; a repeated name starts another one."""
    rows: dict[tuple[int, float, bool, int], Row] = {}
    for part in batch.points:
        name = column(part.name, axis)
        for step, value, stamp in zip(part.steps, part.values, part.times):
            number = 0
            while name in rows.setdefault((step, stamp, part.system, number), {}):
                number += 1
            row = rows[step, stamp, part.system, number]
            row[name] = value
            row[TIME] = stamp
            if not part.system:
                row[axis] = step
    yield from (rows[key] for key in sorted(rows, key=lambda key: key[1]))


def same_value(kept: Any, value: float) -> bool:
    """Whether the SDK's file has this number: it writes NaN and infinities as strings, and zero without its sign."""
    return kept is not None and repr(float(kept) + 0.0) == repr(float(value) + 0.0)


PointIdentity = tuple[str, str, str, float]
"""(column, value, value on the axis, time)"""


def written_points(rows: Iterable[Row], axis: str) -> Counter[PointIdentity]:
    """The points of rows that are in the SDK's files."""
    return Counter(point for row in rows for point in _points(row, axis))


def lacking(rows: Iterable[Row], written: Counter[PointIdentity], axis: str) -> list[Row]:
    """The rows with the points alone that are not written; those that are, are struck from `written`."""
    found = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name in (TIME, axis)}
        for point in _points(row, axis):
            if written[point]:
                written[point] -= 1
            else:
                kept[point[0]] = row[point[0]]
        if kept.keys() - {TIME, axis}:
            found.append(kept)
    return found


def _points(row: Row, axis: str) -> Iterator[PointIdentity]:
    at, time = str(row.get(axis, "")), round(float(row[TIME]), 6) if TIME in row else 0.0
    for name, value in row.items():
        if not name.startswith("_") and name != axis:
            yield name, repr(float(value) + 0.0), at, time
