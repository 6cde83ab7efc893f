"""Turns what was emitted into records: groups points by series and packs each group into a chunk.

Runs on the writer thread. Pure Python: it must be cheap for a few points and never load numpy into a program that has
none. An item that cannot be recorded costs itself and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Union

from tracelet import guard
from tracelet.mending import storable_text
from tracelet.points import pack_floats, pack_integers
from tracelet.records import Chunk, Points, Record, Span
from tracelet.sink import Item, OpenSpan, SeriesKey
from tracelet.spans import pack_spans
from tracelet.tally import Tally
from tracelet.values import resolve

MICRO = 1_000_000
LONGEST_NAME = 1000
"""Characters of a metric's name. It stands in every chunk; a longer one is cut, which is said."""
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
        self._keys: dict[Union[str, SeriesKey], SeriesKey] = {}
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
                    continue
                try:
                    self._collect(item, groups)
                except (TypeError, ValueError, ArithmeticError) as error:
                    guard.failed("recording a point", error)
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
        micro = int(seconds * MICRO)
        if step is None:
            step = self._next_step.get(name, 0)
            self._next_step[name] = step + 1
        elif type(name) is str:
            self._next_step[name] = step + 1
        group.steps.append(step)
        group.times.append(micro)
        group.values.append(value)
        if len(item) == 6:
            group.epochs.append(item[4])
            group.weights.append(item[5])

    def _key(self, name: str | SeriesKey) -> SeriesKey:
        key = self._keys.get(name)
        if key is None:
            key = SeriesKey(name) if isinstance(name, str) else name
            sound = storable_text(key.name)[:LONGEST_NAME]
            if sound != key.name:
                guard.say(f"the metric name {sound[:80]!r} ... cannot be stored as it is and was changed.", once=sound)
                key = SeriesKey(sound, key.stage, key.fit, key.reduce, key.automatic)
            self._keys[name] = key
        return key

    def _chunk(self, group: _Group) -> Chunk:
        key = group.key
        values = resolve(group.values)
        odd = [place for place, step in enumerate(group.steps) if type(step) is not int]
        for place, number in zip(odd, resolve([group.steps[place] for place in odd])):
            group.steps[place] = int(number)  # a step that was logged as a tensor
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
