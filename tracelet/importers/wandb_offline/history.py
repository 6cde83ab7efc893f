"""Rows of a run's history as columns. Called by the importer for each history record; reads no file.

The items of a row come in any order. If all values are numbers and all keys plain, two regular expressions split the
row; other rows are decoded field by field, which takes ten times as long. Numbers are written as JSON, and none of
their characters, nor those of plain keys, can be mistaken for a length or a field's key, so a match is exact.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracelet.importers.base import PointBatch
from tracelet.importers.protobuf import BYTES, FIXED64, VARINT, Field, fields, number, signed, text

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray, IntArray

ITEM, STEP = 1, 2
KEY, NESTED_KEY, VALUE_JSON = 1, 2, 16
TYPED = {4: VARINT, 5: VARINT, 6: FIXED64}
"""Fields of an item with a value that is not JSON: boolean, integer, number."""
NUMBER = rb"(?:-?[0-9][0-9.eE+-]*|NaN|-?Infinity)"
_ITEM = rb"\x0a[\x00-\xff]{1,2}?[\x0a\x12][\x01-\x7f]%s\x82\x01[\x01-\x1f]%s"
PLAIN_ROW = re.compile(
    rb"(?:" + _ITEM % (rb"[ -~]+", NUMBER) + rb")+(?:\x12[\x00-\x0b](?:\x08[\x80-\xff]*[\x00-\x7f])?)?"
)
_INTERNAL_KEY = rb"(?:\x12[\x00-\x7f]_wandb\x12[\x00-\x7f]runtime|[\x0a\x12][\x00-\x7f]_runtime)"
INTERNAL_SUMMARY = re.compile(rb"(?:\x0a[\x00-\x7f]%s\x82\x01[\x01-\x1f]%s)+" % (_INTERNAL_KEY, NUMBER))
"""Entries that the SDK adds to each row's summary, which are not the program's."""
PLAIN_ITEM = re.compile(_ITEM % (rb"([ -~]+)", rb"(" + NUMBER + rb")"))
STEP_KEY, TIME_KEY = b"_step", b"_timestamp"
OWN_KEYS = frozenset({STEP_KEY, TIME_KEY, b"_runtime", b"_wandb"})
MICRO = 1e6
ROWS_AT_ONCE = 50_000

Values = Mapping[bytes, Any]
"""The numbers of a row by name: as JSON bytes, or as numbers."""


@dataclass
class _Rows:
    """Rows with the same names, and their positions among all stored rows."""

    places: list[int] = field(default_factory=list)
    rows: list[Values] = field(default_factory=list)


def plain_items(body: bytes) -> dict[bytes, bytes] | None:
    """The items of a history or summary message by name, if all are plain numbers. Decodes nothing."""
    if PLAIN_ROW.fullmatch(body) is None:
        return None
    return dict(PLAIN_ITEM.findall(body))


class History:
    """Takes rows, returns batches of points. `axes` maps a metric to the metric that is its x axis."""

    def __init__(self) -> None:
        self.axes: dict[str, str] = {}
        self.skipped: Counter[str] = Counter()
        """Keys whose values are not numbers, and how often."""
        self.fractions: set[str] = set()
        """Metrics whose x axis had a value that is not a whole number; such points have the row's step."""
        self._groups: dict[frozenset[bytes], _Rows] = {}
        self._count = 0
        self._next = 0

    def take(self, body: bytes) -> Iterator[PointBatch]:
        """Add one history message."""
        values: Values | None = plain_items(body)
        if values is None or STEP_KEY not in values:
            values = self._decoded(body)
        step = values.get(STEP_KEY)
        if step is None:
            values = {**values, STEP_KEY: self._next}
        self._next = _whole(values[STEP_KEY]) + 1
        names = frozenset(values)
        group = self._groups.get(names)
        if group is None:
            group = self._groups[names] = _Rows()
        group.places.append(self._count)
        group.rows.append(values)
        self._count += 1
        if self._count >= ROWS_AT_ONCE:
            yield from self.rest()

    def _decoded(self, body: bytes) -> Values:
        """The numbers of any row."""
        found: dict[bytes, Any] = {}
        for one in fields(body, 0, len(body)):
            if one.number == ITEM and one.wire == BYTES:
                name, value = item(body, one)
                found[name.encode()] = value
            elif one.number == STEP and one.wire == BYTES:
                step = next((signed(part.value) for part in fields(body, one.start, one.end) if part.number == 1), 0)
                found.setdefault(STEP_KEY, step)
        media = tuple(name.removesuffix(b"_type") for name in found if name.endswith(b"._type"))
        numbers: dict[bytes, Any] = {}
        for key, value in found.items():
            plain = isinstance(value, (int, float)) and not isinstance(value, bool)
            if plain and not key.startswith(media or (b"\0",)):
                numbers[key] = value
            elif key not in OWN_KEYS:
                self.skipped[key.decode()] += 1
        return numbers

    def rest(self) -> Iterator[PointBatch]:
        """The points of all rows added since the last call, those of a metric in the order of their rows."""
        import numpy as np

        groups, self._groups, self._count = self._groups, {}, 0
        found: dict[str, list[tuple[IntArray, PointBatch]]] = {}
        for names, group in groups.items():
            places = np.array(group.places, dtype=np.int64)
            for batch in self._batches(names, group.rows):
                found.setdefault(batch.name, []).append((places, batch))
        for parts in found.values():
            yield parts[0][1] if len(parts) == 1 else _merged(parts)

    def _batches(self, names: frozenset[bytes], rows: list[Values]) -> Iterator[PointBatch]:
        import numpy as np

        steps = np.array([_whole(row[STEP_KEY]) for row in rows], dtype=np.int64)
        times = np.zeros(len(rows), dtype=np.int64)
        if TIME_KEY in names:
            times = np.rint(_column(TIME_KEY, rows) * MICRO).astype(np.int64)
        for name in names - OWN_KEYS:
            title = name.decode()
            yield PointBatch(title, self._on_axis(title, names, rows, steps), _column(name, rows), times)

    def _on_axis(self, name: str, names: frozenset[bytes], rows: list[Values], steps: IntArray) -> IntArray:
        """The steps of a metric: those of the row, or the values of the metric that is its x axis."""
        import numpy as np

        axis = self.axes.get(name, name).encode()
        if axis not in names or axis == name.encode():
            return steps
        values = _column(axis, rows)
        if not (np.isfinite(values) & (values == np.rint(values)) & (np.abs(values) < 2**63)).all():
            self.fractions.add(name)
            return steps
        return np.array([_whole(row[axis]) for row in rows], dtype=np.int64)


def _column(name: bytes, rows: list[Values]) -> FloatArray:
    import numpy as np

    return np.array([float(row[name]) for row in rows], dtype=np.float64)


def _merged(parts: list[tuple[IntArray, PointBatch]]) -> PointBatch:
    import numpy as np

    order = np.argsort(np.concatenate([places for places, _ in parts]))
    batches = [batch for _, batch in parts]
    columns = [np.concatenate([getattr(one, name) for one in batches])[order] for name in ("steps", "values", "times")]
    return PointBatch(batches[0].name, columns[0], columns[1], columns[2])


def _whole(value: Any) -> int:
    """A step; from the bytes if they are an integer's, which a double might round."""
    try:
        return int(value)
    except ValueError:
        return int(float(value))


def item(data: bytes, message: Field) -> tuple[str, Any]:
    """(name, value) of an item of history, config or summary; nested keys are joined by dots."""
    names: list[str] = []
    value: Any = None
    for part in fields(data, message.start, message.end):
        if part.number in (KEY, NESTED_KEY) and part.wire == BYTES:
            names.append(text(data, part))
        elif part.number == VALUE_JSON and part.wire == BYTES:
            value = loaded(data[part.start : part.end])
        elif TYPED.get(part.number) == part.wire:
            value = bool(part.value) if part.number == 4 else number(data, part)
        elif part.number == 7 and part.wire == BYTES:
            value = text(data, part)
        elif part.number == 8 and part.wire == BYTES:
            value = loaded(data[part.start : part.end])
    return ".".join(names), value


def loaded(raw: bytes) -> Any:
    """A JSON value, with NaN and infinities; the string itself if it is not JSON."""
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", errors="replace")
