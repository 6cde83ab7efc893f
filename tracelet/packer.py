"""Turns what was emitted into records: groups points by series and packs each group into a chunk.

Runs on the writer thread (or on whichever thread flushes, under the writer's lock). Pure Python: it must be cheap for a few
points and never load numpy into a program that has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Union

from tracelet import guard
from tracelet.values import resolve
from tracelet.points import pack_floats, pack_integers
from tracelet.records import Chunk, Points, Record, Span
from tracelet.sink import Item, OpenSpan, SeriesKey
from tracelet.spans import pack_spans
from tracelet.tally import Tally

MICRO = 1_000_000
SPAN_WIDTH = 7
"""The length of a `FinishedSpan`, which tells it from a point."""


class _Group:
    """The points of one series in one flush, column by column."""

    __slots__ = ("epochs", "key", "steps", "times", "values", "weights")

    def __init__(self, key: SeriesKey) -> None:
        self.key = key
        self.steps: list[int] = []
        self.times: list[int] = []
        self.values: list[Any] = []
        self.epochs: list[int] = []
        self.weights: list[Any] = []

    def split(self) -> Iterator[_Group]:
        """One group for each point."""
        for place in range(len(self.values)):
            single = _Group(self.key)
            for column in ("steps", "times", "values", "epochs", "weights"):
                setattr(single, column, getattr(self, column)[place : place + 1])
            yield single


class Packer:
    """Keeps, over the whole run, the next step of each metric that is logged without one, and each metric's tally."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self._plain: dict[str, SeriesKey] = {}
        self._next_step: dict[str, int] = {}

    def pack(self, items: Iterable[Item]) -> list[Record]:
        """The records for the items: all others in their order, then one `Points` with everything else."""
        records: list[Record] = []
        groups: dict[Union[str, SeriesKey], _Group] = {}
        spans: list[Any] = []
        for item in items:
            if type(item) is tuple:
                if len(item) == SPAN_WIDTH:
                    spans.append(item)
                else:
                    self._collect(item, groups)
            elif isinstance(item, Record):
                records.append(item)
            elif isinstance(item, OpenSpan) and not item.ended:
                records.append(_beginning(item))
        chunks: list[Chunk] = []
        for group in groups.values():
            self._pack_group(group, chunks)
        if chunks:
            records.append(Points(chunks=chunks))
        if spans:
            with guard.guard("recording spans"):
                records.append(pack_spans(spans))
        return records

    def _pack_group(self, group: _Group, chunks: list[Chunk]) -> None:
        try:
            chunks.append(self._chunk(group))
        except (TypeError, ValueError, OverflowError, RuntimeError):
            # One point is no number (or its device is gone): the others must not be lost with it.
            for single in group.split():
                with guard.guard(f"recording a point of {group.key.name!r}"):
                    chunks.append(self._chunk(single))

    def _collect(self, item: tuple[Any, ...], groups: dict[Union[str, SeriesKey], _Group]) -> None:
        name, step, value, seconds = item[:4]
        group = groups.get(name)
        if group is None:
            group = groups[name] = _Group(self._key(name))
        if step is None:
            step = self._next_step.get(name, 0)
            self._next_step[name] = step + 1
        elif type(name) is str:
            self._next_step[name] = step + 1
        group.steps.append(step)
        group.times.append(int(seconds * MICRO))
        group.values.append(value)
        if len(item) == 6:
            group.epochs.append(item[4])
            group.weights.append(item[5])

    def _key(self, name: str | SeriesKey) -> SeriesKey:
        if not isinstance(name, str):
            return name
        key = self._plain.get(name)
        if key is None:
            key = self._plain[name] = SeriesKey(name)
        return key

    def _chunk(self, group: _Group) -> Chunk:
        key = group.key
        values = resolve(group.values)
        if not all(type(step) is int for step in group.steps):
            group.steps = [int(step) for step in resolve(group.steps)]  # a step that was logged as a tensor
        chunk = Chunk(
            name=key.name, count=len(values), steps=pack_integers(group.steps), times=pack_integers(group.times),
            values=pack_floats(values), stage=key.stage, fit=key.fit, reduce=key.reduce,
            epochs=pack_integers(group.epochs) if group.epochs else None,
            weights=_pack_weights(group.weights), automatic=key.automatic,
        )  # fmt: skip
        tally = self.tallies.get(key.name)
        if tally is None:
            tally = self.tallies[key.name] = Tally()
            tally.automatic = key.automatic
        tally.add(group.steps, group.times, values)
        return chunk


def _beginning(span: OpenSpan) -> Span:
    return Span(
        id=span.id, name=span.name, start_ns=span.start_ns, parent=span.parent, thread=span.thread,
        attributes=dict(span.attributes),
    )  # fmt: skip


def _pack_weights(weights: list[Any]) -> Any:
    if not weights or all(weight is None for weight in weights):
        return None
    return pack_floats(resolve([1.0 if weight is None else weight for weight in weights]))
