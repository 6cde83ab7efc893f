"""Finished spans and iterations as packed columns. Made by the writer, on its thread; pure Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import sub
from typing import Any, cast

from tracelet.capture.sink import IDS_PER_ITERATION, FinishedIteration, FinishedSpan
from tracelet.journal.column_packing import pack_integers, pack_small
from tracelet.journal.records import Spans

ITERATION_WIDTH = 8
"""The length of a `FinishedIteration`, which tells it from a `FinishedSpan`."""


def pack(items: Iterable[FinishedSpan | FinishedIteration]) -> list[Spans]:
    """What one flush found: a record of its single spans and one of its iterations."""
    singles: list[Any] = []
    iterations: list[Any] = []
    for item in items:
        (iterations if len(item) == ITERATION_WIDTH else singles).append(item)
    return [pack(found) for pack, found in ((pack_spans, singles), (pack_iterations, iterations)) if found]


def pack_spans(items: Sequence[FinishedSpan | FinishedIteration]) -> Spans:
    """One record of all spans, ordered by their start."""
    rows: list[Any] = []
    for item in items:
        if len(item) == ITERATION_WIDTH:
            rows += iteration_spans(cast("FinishedIteration", item))
        else:
            rows.append(item)
    ordered = sorted(rows, key=_start)
    names: dict[str, int] = {}
    indexes = [names.setdefault(item[0], len(names)) for item in ordered]
    return Spans(
        count=len(ordered), names=list(names), name_indexes=pack_integers(indexes),
        ids=pack_integers([item[1] for item in ordered]),
        parents=pack_integers([item[1] - item[2] + 1 if item[2] else 0 for item in ordered]),
        starts=pack_integers([item[3] for item in ordered]),
        durations=pack_integers([item[4] for item in ordered]),
        threads=pack_integers([item[5] for item in ordered]),
        attributes={place: item[6] for place, item in enumerate(ordered) if item[6]},
    )  # fmt: skip


def pack_iterations(iterations: Sequence[FinishedIteration]) -> Spans:
    """The same for iterations alone, by columns: there are many, and rows cost twice the time."""
    begins = [iteration[3] for iteration in iterations]
    if any(after < before for before, after in pairwise(begins)):
        return pack_spans(iterations)  # an iteration inside another one ended first
    names: dict[str, int] = {}
    known: dict[tuple[str, ...], tuple[list[int], range]] = {}
    indexes: list[int] = []
    ids: list[int] = []
    distances: list[int] = []
    starts: list[int] = []
    durations: list[int] = []
    threads: list[int] = []
    for name, number, parent, begin, end, thread, origin, marks in iterations:
        phases = (name, *marks[: 2 * IDS_PER_ITERATION - 2 : 2])
        pattern = known.get(phases)
        if pattern is None:
            pattern = [names.setdefault(phase, len(names)) for phase in phases], range(2, len(phases) + 1)
            known[phases] = pattern
        indexes += pattern[0]
        ids += range(number, number + len(phases))
        distances.append(number - parent + 1 if parent else 0)
        distances += pattern[1]
        ends = marks[1 : 2 * IDS_PER_ITERATION - 1 : 2]
        edges = [begin, *ends]
        starts.append(begin + origin)
        starts += [edge + origin for edge in edges[:-1]]
        durations.append(end - begin)
        durations += map(sub, ends, edges)
        threads += [thread] * len(phases)
    return Spans(
        count=len(ids), names=list(names), name_indexes=pack_small(indexes), ids=pack_integers(ids),
        parents=pack_small(distances), starts=pack_integers(starts), durations=pack_small(durations),
        threads=pack_small(threads),
    )  # fmt: skip


def iteration_spans(iteration: FinishedIteration) -> list[FinishedSpan]:
    """The spans of an iteration: its own, then one for each phase."""
    name, number, parent, begin, end, thread, origin, marks = iteration
    rows: list[FinishedSpan] = [(name, number, parent, begin + origin, end - begin, thread, None)]
    for offset in range(0, min(len(marks), 2 * (IDS_PER_ITERATION - 1)), 2):
        until = marks[offset + 1]
        rows.append((marks[offset], number + offset // 2 + 1, number, begin + origin, until - begin, thread, None))
        begin = until
    return rows


def _start(item: FinishedSpan) -> int:
    return item[3]
