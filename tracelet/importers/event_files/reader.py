"""Reads the event files of a folder as items: points, hyperparameters, texts, and resumptions of the training.

Used by the importers of TensorBoard's and Lightning's folders, on their thread. A notice counts images, histograms,
audio and curves.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tracelet.importers.base import Item, PointBatch, Resumed
from tracelet.importers.event_files import hparams
from tracelet.importers.event_files.event import Event as DecodedEvent
from tracelet.importers.event_files.event import value_of
from tracelet.importers.event_files.event_file import Block, EventFile
from tracelet.importers.event_files.scalar_columns import Column, Decoded, decoded
from tracelet.journal.records import Event, Notice, Params, Status

if TYPE_CHECKING:
    import numpy.typing as npt

    from tracelet.journal.column_packing import IntArray

MARK = "tfevents"
MICRO = 1e6
TEXT = "text"
TEXT_SUFFIX = "/text_summary"
LATEST_TIME = 4e12
"""Maximum seconds since the epoch whose microseconds fit 64 bits; a later time is damage."""


def event_files(folder: Path) -> list[Path]:
    """The event files of a folder, in the order of their creation: their names contain the time."""
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in sorted(entries, key=lambda one: one.name) if _is_event_file(entry)]


def _is_event_file(entry: os.DirEntry[str]) -> bool:
    return MARK in entry.name and entry.is_file()


def read(path: Path) -> Iterator[Item]:
    """The content of an event file, or of those of a folder, one after the other."""
    files = [path] if path.is_file() else event_files(path)
    reading = _Reading()
    for file in files:
        source = EventFile(file)
        for block in source.blocks():
            yield from reading.items(block, decoded(block))
        yield from (_notice(problem, reading.latest) for problem in source.problems)
    yield from reading.rest()


class _Reading:
    """The state of reading a run."""

    def __init__(self) -> None:
        self.latest = 0
        """The latest time so far, in microseconds since the epoch."""
        self.skipped: Counter[str] = Counter()
        self.damaged = 0
        self.status = ""

    def items(self, block: Block, found: Decoded) -> Iterator[Item]:
        """The points and records of a block, in its order where that matters."""
        self.damaged += found.damaged
        for place, event in found.events:
            for scalar in event.numbers:
                column = Column(
                    np.array([place]), np.array([event.wall_time]), np.array([event.step], dtype=np.int64),
                    np.array([value_of(block.data, scalar)]),
                )  # fmt: skip
                found.columns.setdefault(scalar.tag, []).append(column)
        start = 0
        for place, event in found.events:
            if event.resumed:
                yield from self._points(found, start, place)
                yield Resumed(event.step)
                start = place
        yield from self._points(found, start, len(block.offsets))
        for _, event in found.events:
            yield from self._records(event)

    def _points(self, found: Decoded, start: int, stop: int) -> Iterator[PointBatch]:
        """The points whose records are in this part of the block."""
        for tag, columns in found.columns.items():
            whole = _in_order(columns)
            chosen = slice(*np.searchsorted(whole.places, (start, stop)))
            times = _micros(whole.times[chosen])
            if len(times):
                self.latest = max(self.latest, int(times.max()))
                yield PointBatch(tag, whole.steps[chosen], whole.values[chosen], times)

    def _records(self, event: DecodedEvent) -> Iterator[Item]:
        time = int(_micros(np.array([event.wall_time]))[0])
        self.latest = max(self.latest, time)
        for other in event.others:
            if other.plugin == hparams.PLUGIN:
                yield from self._session(other.content, time)
            elif other.plugin == TEXT:
                attributes = {
                    "name": other.tag.removesuffix(TEXT_SUFFIX), "step": event.step,
                    "text": other.content.decode("utf-8", errors="replace"),
                }  # fmt: skip
                yield Event(time=time, name=TEXT, attributes=attributes)
            else:
                self.skipped[other.plugin or "other summaries"] += 1

    def _session(self, content: bytes, time: int) -> Iterator[Item]:
        try:
            values, self.status = hparams.session_params(content), hparams.session_status(content) or self.status
        except ValueError:
            self.damaged += 1
            return
        if values:
            yield Params(time=time, values=values, source="hparams")

    def rest(self) -> Iterator[Item]:
        """Items known only once all files are read."""
        for kind, count in sorted(self.skipped.items()):
            yield _notice(f"{count:,} summaries of kind {kind!r} are not imported", self.latest)
        if self.damaged:
            yield _notice(f"{self.damaged:,} damaged records were skipped", self.latest)
        if self.status:
            yield Status(time=self.latest, status=self.status)


def _in_order(columns: list[Column]) -> Column:
    """The points of a tag in the order of their records."""
    if len(columns) == 1:
        return columns[0]
    places = np.concatenate([one.places for one in columns])
    order = np.argsort(places, kind="stable")
    joined = Column(
        places[order], np.concatenate([one.times for one in columns])[order],
        np.concatenate([one.steps for one in columns])[order], np.concatenate([one.values for one in columns])[order],
    )  # fmt: skip
    columns[:] = [joined]
    return joined


def _micros(seconds: npt.NDArray[np.float64]) -> IntArray:
    """Microseconds since the epoch; 0 for impossible times."""
    sound = np.where(np.abs(seconds) < LATEST_TIME, seconds, 0.0)  # a NaN compares as false
    micros: IntArray = np.rint(sound * MICRO).astype(np.int64)
    return micros


def _notice(message: str, time: int) -> Notice:
    return Notice(time=time, code="import", message=message)
