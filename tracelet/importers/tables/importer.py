"""The `table` importer: CSV, JSON lines and Parquet files, one run each, or one for each value of a run column.

Metrics are the columns with numbers, or the names and values of a long table. In a folder, tables are imported only
with `--format table`: not every table is a training.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tracelet.importers.base import Item, SourceRun
from tracelet.importers.point_columns import PointColumns
from tracelet.importers.tables.layout import Layout, TableColumns, guessed, time_of
from tracelet.importers.tables.rows import SUFFIXES, Row, Rows, table
from tracelet.importers.text_numbers import MISSING, as_number, measured
from tracelet.importers.timestamps import modified
from tracelet.journal.records import Notice, Params, Scalar

SAMPLE_ROWS = 100
"""Rows from which the meaning of columns is guessed."""


@dataclass(frozen=True)
class TableRun(SourceRun):
    """A run in a table: what the columns mean, and where its rows are, as pairs (position, count); empty for all."""

    layout: Layout | None = None
    blocks: array[int] = field(default_factory=lambda: array("q"))


class TableImporter:
    """Reads table files."""

    name = "table"

    def __init__(self, columns: TableColumns | None = None, in_folders: bool = False) -> None:
        self._columns = columns or TableColumns()
        self._in_folders = in_folders

    def find(self, path: Path) -> list[SourceRun]:
        """The runs of the table, or of all tables in the folder."""
        if path.is_file():
            return list(self._runs(path))
        return [run for file in _tables_below(path) for run in self._runs(file)] if self._in_folders else []

    def _runs(self, path: Path) -> Iterator[TableRun]:
        rows = table(path)
        if rows is None or not rows.columns:
            return
        layout = guessed(rows.columns, [row for _, row in islice(rows.all(), SAMPLE_ROWS)], self._columns)
        note = layout.described()
        if not layout.run:
            yield TableRun(self.name, path, name=path.stem, note=note, layout=layout)
            return
        for key, blocks in _blocks(rows, layout.run).items():
            yield TableRun(self.name, path, key, key or path.stem, note=note, layout=layout, blocks=blocks)

    def read(self, run: SourceRun) -> Iterator[Item]:
        """The points and parameters of the run."""
        rows = table(run.path)
        if rows is not None and isinstance(run, TableRun) and run.layout is not None:
            yield from _Reading(run.layout, modified(run.path)).items(_rows(rows, run.blocks))


def _tables_below(path: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(path):
        subfolders.sort()
        yield from (Path(folder) / name for name in sorted(files) if Path(name).suffix.lower() in SUFFIXES)


def _blocks(rows: Rows, run: str) -> dict[str, array[int]]:
    """Where the rows of each run are; consecutive ones together."""
    found: dict[str, array[int]] = {}
    latest = None
    for position, row in rows.all():
        key = str(row.get(run, "") if row.get(run) is not None else "")
        if key == latest:
            found[key][-1] += 1
        else:
            found.setdefault(key, array("q")).extend((position, 1))
            latest = key
    return found


def _rows(rows: Rows, blocks: array[int]) -> Iterator[Row]:
    if not blocks:
        yield from (row for _, row in rows.all())
    for place in range(0, len(blocks), 2):
        yield from rows.at(blocks[place], blocks[place + 1])


class _Reading:
    """The state of reading a run."""

    def __init__(self, layout: Layout, time: int) -> None:
        self._layout = layout
        self._time = time
        """Of rows without one."""
        self._points = PointColumns()
        self._params: dict[str, Scalar] = {}
        self._skipped: dict[str, int] = {}
        self._undated = 0

    def items(self, rows: Iterator[Row]) -> Iterator[Item]:
        for number, row in enumerate(rows):
            self._take(number, row)
            yield from self._points.full()
        yield from self._points.rest()
        if self._params:
            yield Params(time=self._points.earliest, values=self._params, source="table")
        yield from self._points.notices()
        if self._undated:
            yield self._notice(
                f"{self._undated:,} rows have no time; their points have that of the file", self._undated
            )
        for name, count in sorted(self._skipped.items()):
            yield self._notice(f"{count:,} values of {name!r} are no numbers and are not imported", count)

    def _take(self, number: int, row: Row) -> None:
        layout = self._layout
        step = measured(row.get(layout.step)) if layout.step else number
        time = time_of(row.get(layout.time)) if layout.time else None
        if time is None:
            self._undated += 1
            time = self._time
        if layout.metric:
            self._add(str(row.get(layout.metric)), row.get(layout.value), step, time)
        for name in layout.metrics:
            self._add(name, row.get(name), step, time)
        for name in layout.params:
            if (cell := row.get(name)) is not None and cell != "":
                self._params[name] = _scalar(cell)

    def _add(self, name: str, cell: Any, step: float | None, time: int) -> None:
        value = measured(cell)
        if value is not None:
            self._points.add(name, step, value, time)
        elif cell is not None and cell not in MISSING:
            self._skipped[name] = self._skipped.get(name, 0) + 1

    def _notice(self, message: str, count: int) -> Notice:
        return Notice(time=self._points.latest, code="import", message=message, count=count)


def _scalar(cell: Any) -> Scalar:
    if isinstance(cell, str):
        return as_number(cell)
    return cell if isinstance(cell, (int, float, bool)) else str(cell)
