"""Turns what was emitted into records: groups points by series and packs each group into a chunk.

Runs on the writer thread. Pure Python: it must be cheap for a few points and never load numpy into a program that has
none. An item that cannot be recorded costs itself and no other.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Union

from tracelet import guard
from tracelet.capture.exception_text import describe_exception
from tracelet.capture.fit_of_record import of_fit
from tracelet.capture.point_groups import SPAN_WIDTH, has_overlapping_series, points_by_series
from tracelet.capture.running_fits import FitChange
from tracelet.capture.sanitize import storable_text
from tracelet.capture.scalars import RoundedInteger, resolve
from tracelet.capture.sink import (
    PLAIN_WIDTH,
    DeferredRecords,
    Item,
    OpenSpan,
    SeriesGroup,
    SeriesKey,
)
from tracelet.capture.span_packing import pack
from tracelet.journal.column_packing import pack_floats, pack_integers
from tracelet.journal.metric_summary import FitSummaries
from tracelet.journal.records import Chunk, Event, Notice, Packed, Points, Record, Span
from tracelet.redaction.recorded_names import masked_name

MICROSECONDS = 1e6
MAX_NAME = 1000
"""Characters of a metric's name. It stands in every chunk; a longer one is truncated, with a message."""
ONLY_INTEGERS = {int}
READ_ERRORS = (TypeError, ValueError, ArithmeticError, RuntimeError)
"""What reading a value raises that is no number, or whose device is gone."""
MAX_NOTICES = 100
"""Metrics that get a notice of missing points; a program that logs ever new names must not fill the journal."""
MAX_REASON = 200
"""Characters; torch writes a page about a failed kernel."""


class Packer:
    """Keeps, over the whole run, the next step of each metric that is logged without one, and each metric's summary."""

    def __init__(self) -> None:
        self.summaries = FitSummaries()
        self._fit = 0
        """The fit of what is logged by name; changed by the `FitChange`s among the items."""
        self._last_fit = 0
        """The last one but 0."""
        self._keys: dict[Union[str, SeriesKey], SeriesKey] = {}
        self._next_step: dict[Union[str, SeriesKey], int] = {}
        self._rounded: set[str] = set()
        self._packs = 0
        """How often points were packed: each time makes one frame."""
        self._reported: set[str] = set()
        """Metrics that a notice was made for because a point could not be read."""
        self._notices: list[Record] = []

        self._continued: Mapping[int, Mapping[str, int]] = {}

    def continue_steps(self, following: Mapping[str, int], by_fit: Mapping[int, Mapping[str, int]]) -> None:
        """Continue the steps of an earlier process of the run: the next step of each metric, by name, and by fit where
        that process had several.
        """
        self._next_step.update(following)
        self._continued = by_fit

    def pack(self, items: Sequence[Item]) -> list[Record]:
        """The records for the items: all others in their order, then one `Points` with everything else."""
        self._packs += 1
        records: list[Record] = []
        points: dict[Any, list[Any]] = defaultdict(list)
        spans: list[Any] = []
        chunks: list[Chunk] = []
        begin = 0
        for place, item in enumerate(items):
            if type(item) is tuple:
                if len(item) >= SPAN_WIDTH:
                    spans.append(item)
                else:
                    points[item[0]].append(item)
            elif type(item) is FitChange:
                self._pack_points(points, items[begin:place], chunks)
                points, begin = defaultdict(list), place + 1
                self._change_fit(item.number)
            else:
                records += [of_fit(record, self._fit) for record in _other_records(item)]
        self._pack_points(points, items[begin:] if begin else items, chunks)
        if chunks:
            records.append(Points(chunks=chunks))
        records += self._notices
        self._notices = []
        if spans:
            with guard.guard("recording spans"):
                records += pack(spans)
        return records

    def _pack_points(self, points: Mapping[Any, list[Any]], items: Sequence[Item], chunks: list[Chunk]) -> None:
        """The chunks of the points among these items, which all belong to one fit if they were logged by name."""
        if has_overlapping_series(points):
            points = points_by_series(items)
        for name, series in points.items():
            if type(name) is SeriesGroup:
                self._pack_rows(name, series, chunks)
            else:
                self._pack_series(name, series, chunks)

    def _change_fit(self, number: int) -> None:
        """What follows belongs to another fit. Between two fits a metric without steps begins anew."""
        if number and self._last_fit and number != self._last_fit:
            kept = {name: step for name, step in self._next_step.items() if not _follows_fit(name)}
            kept.update(self._continued.get(number, {}))
            self._next_step = kept
        self._fit, self._last_fit = number, number or self._last_fit
        self._keys = {name: key for name, key in self._keys.items() if not _follows_fit(name)}

    def _pack_series(self, name: str | SeriesKey, items: list[Any], chunks: list[Chunk]) -> None:
        following = self._next_step_of(name)
        try:
            chunks.append(self._chunk(name, items))
        except READ_ERRORS:  # one point: the others must not be lost with it
            self._next_step[name] = following
            for item in items:
                with guard.guard(f"recording a point of {self._key(name).name!r}"):
                    try:
                        chunks.append(self._chunk(name, [item]))
                    except READ_ERRORS as error:
                        self._report_unreadable(self._key(name).name, error)
                        raise

    def _report_unreadable(self, name: str, error: BaseException) -> None:
        """Have the journal say that points of a metric are missing, once for each metric."""
        if name in self._reported or len(self._reported) > MAX_NOTICES:
            return
        whose = repr(name) if len(self._reported) < MAX_NOTICES else "further metrics"
        self._reported.add(name)
        why = describe_exception(error)[:MAX_REASON]
        message = f"points of {whose} were not recorded because they cannot be read ({why})"
        self._notices.append(Notice(time=int(time.time() * MICROSECONDS), code="unreadable", message=message))

    def _read(self, name: str | SeriesKey, values: Sequence[Any]) -> Sequence[float]:
        found = resolve(values)
        if found is not values and any(type(value) is RoundedInteger for value in values):
            name = self._key(name).name
            if name not in self._rounded and len(self._rounded) < MAX_NOTICES:
                self._rounded.add(name)
                message = f"integers of {name!r} beyond 2^53 were rounded: values are recorded as 64-bit floats"
                self._notices.append(Notice(time=int(time.time() * MICROSECONDS), code="rounded", message=message))
        return found

    def _pack_rows(self, group: SeriesGroup, rows: list[Any], chunks: list[Chunk]) -> None:
        """The chunks of series that share their steps, times and epochs, which are packed once for all of them."""
        try:
            times, steps = to_microseconds([row[3] for row in rows]), [row[1] for row in rows]
            packed_steps, packed_times = pack_integers(steps), pack_integers(times)
            named = rows[0][4] is None
            epochs = None if named else pack_integers([row[4] for row in rows])
            columns = [self._read(key, column) for key, column in zip(group.keys, zip(*[row[2] for row in rows]))]
            found = []
            for key, values in zip(map(self._key, group.keys), columns):
                found.append(
                    Chunk(
                        name=key.name, count=len(values), steps=packed_steps, times=packed_times,
                        values=pack_floats(values), stage=key.stage, fit=key.fit or 0, reduce=key.reduce, epochs=epochs,
                        automatic=key.automatic,
                    )
                )  # fmt: skip
        except READ_ERRORS:
            for name, series in points_by_series(rows).items():
                self._pack_series(name, series, chunks)
            return
        chunks += found
        if named:
            self._next_step.update(dict.fromkeys(group.keys, steps[-1] + 1))
        for chunk, values in zip(found, columns):
            self._summarize(chunk, steps, times, values)

    def _key(self, name: str | SeriesKey) -> SeriesKey:
        key = self._keys.get(name)
        if key is None:
            key = SeriesKey(name, fit=None) if isinstance(name, str) else name
            fit = self._fit if key.fit is None else key.fit
            sound = masked_name(storable_text(key.name)[:MAX_NAME])
            if sound != key.name:
                guard.say(
                    f"the metric name {sound[:80]!r} ... cannot be stored unchanged and was modified.", once=sound
                )
            if sound != key.name or type(key.name) is not str or fit != key.fit:  # msgpack knows no text of numpy's
                key = SeriesKey(sound, key.stage, fit, key.reduce, key.automatic)
            self._keys[name] = key
        return key

    def _chunk(self, name: str | SeriesKey, items: list[Any]) -> Chunk:
        """One chunk of the points of a series. By columns, because a loop over points costs four times as much."""
        key = self._key(name)
        times = to_microseconds([item[3] for item in items])
        steps = self._steps(name, [item[1] for item in items])
        values = self._read(name, [item[2] for item in items])
        keyed = len(items[0]) > PLAIN_WIDTH
        weights, totals = _weights([item[5] for item in items]) if keyed else (None, None)
        chunk = Chunk(
            name=key.name, count=len(values), steps=pack_integers(steps), times=pack_integers(times),
            values=pack_floats(values), stage=key.stage, fit=key.fit or 0, reduce=key.reduce,
            epochs=pack_integers([item[4] for item in items]) if keyed else None,
            weights=weights, automatic=key.automatic, totals=totals,
        )  # fmt: skip
        self._summarize(chunk, steps, times, values)
        return chunk

    def _summarize(self, chunk: Chunk, steps: list[int], times: list[int], values: Sequence[float]) -> None:
        self.summaries.of(chunk).add(steps, times, values, self._packs)

    def _steps(self, name: str | SeriesKey, steps: list[Any]) -> list[int]:
        """The steps as integers: one without a step comes after the one before, one that is a tensor is read."""
        if set(map(type, steps)) == ONLY_INTEGERS:
            found = steps
        else:
            found = []
            following = self._next_step_of(name)
            read = iter(resolve([step for step in steps if step is not None and type(step) is not int]))
            for step in steps:
                found.append(following if step is None else step if type(step) is int else int(next(read)))
                following = found[-1] + 1
        if type(name) is str or found is not steps:
            self._next_step[name] = found[-1] + 1
        return found

    def _next_step_of(self, name: str | SeriesKey) -> int:
        """The step of the next point without one; a keyed series continues where an earlier process ended by name."""
        found = self._next_step.get(name)
        return self._next_step.get(self._key(name).name, 0) if found is None else found


def _follows_fit(name: str | SeriesKey) -> bool:
    """Whether a series is one of the fit that runs when it is logged, and not of the fit that it names."""
    return not isinstance(name, SeriesKey) or name.fit is None


def to_microseconds(times: list[float]) -> list[int]:
    """Seconds as microseconds."""
    return [int(seconds * MICROSECONDS) for seconds in times]


def _other_records(item: Item) -> Sequence[Record]:
    """The records of what is neither point nor span."""
    if isinstance(item, Event):
        return [_resolve_attributes(item)]
    if isinstance(item, Record):
        return [item]
    if isinstance(item, OpenSpan) and not item.ended:
        return [_open_span(item)]
    if isinstance(item, DeferredRecords):
        with guard.guard("recording what was put off"):
            return item.records()
    return []


def _resolve_attributes(event: Event) -> Event:
    """The event; a loss that is still on a device becomes a number here, where the training does not wait for it."""
    late = {name: value for name, value in event.attributes.items() if hasattr(value, "is_cpu")}
    if not late:
        return event
    found: dict[str, Any] = dict.fromkeys(late, "unreadable")
    with guard.guard("reading the attributes of an event"):
        found = dict(zip(late, resolve(list(late.values()))))
    return Event(time=event.time, name=event.name, attributes={**event.attributes, **found}, span=event.span)


def _open_span(span: OpenSpan) -> Span:
    return Span(
        id=span.id, name=span.name, start_ns=span.start_ns, parent=span.parent, thread=span.thread,
        attributes=dict(span.attributes),
    )  # fmt: skip


def _weights(found: list[Any]) -> tuple[Packed | None, Packed | None]:
    """The columns of weights and of totals."""
    if all(weight is None for weight in found):
        return None, None
    if tuple not in set(map(type, found)):
        return _pack_numbers(found, 1.0), None
    pairs = [weight if type(weight) is tuple else (weight, None) for weight in found]
    return _pack_numbers([pair[0] for pair in pairs], 1.0), _pack_numbers([pair[1] for pair in pairs], math.nan)


def _pack_numbers(numbers: list[Any], unknown: float) -> Packed:
    return pack_floats(resolve([unknown if number is None else number for number in numbers]))
