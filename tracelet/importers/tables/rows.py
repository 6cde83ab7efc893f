"""The rows of a table file as dictionaries, from its beginning or at known positions. Reads only.

A position is a byte offset in CSV and JSON lines, and a row number in Parquet: rows of one run can be read again
without the others.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

from tracelet.errors import ImportFailed

SUFFIXES = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
LONGEST_LINE = 16 * 1024 * 1024
DELIMITERS = ",;\t|"
SETTLED_SECONDS = 60
"""A last line without an end is complete if nothing was written for so long."""
BATCH_ROWS = 10_000

Row = dict[str, Any]


class Rows(Protocol):
    """A table file."""

    columns: list[str]

    def all(self) -> Iterator[tuple[int, Row]]:
        """Each row with its position."""

    def at(self, position: int, count: int) -> Iterator[Row]:
        """Consecutive rows from a position on."""


def table(path: Path) -> Rows | None:
    """The table in the file, by its suffix. ImportFailed if it cannot be read as one."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        return None
    return CsvRows(path) if kind == "csv" else JsonRows(path) if kind == "jsonl" else ParquetRows(path)


class _Lines:
    """The lines of a text file from an offset on; `offset` is that of the next one."""

    def __init__(self, file: IO[bytes], path: Path, offset: int) -> None:
        self.offset = offset
        self._file, self._path = file, path
        file.seek(offset)

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(LONGEST_LINE):
            if not line.endswith(b"\n") and (len(line) == LONGEST_LINE or not self._settled()):
                if len(line) == LONGEST_LINE:
                    raise ImportFailed(f"{self._path} has a line of more than {LONGEST_LINE:,} bytes; it is no table")
                return
            encoding = "utf-8-sig" if self.offset == 0 else "utf-8"
            self.offset += len(line)
            yield line.decode(encoding, errors="replace").rstrip("\r\n") + "\n"

    def _settled(self) -> bool:
        return time.time() - self._path.stat().st_mtime > SETTLED_SECONDS


class CsvRows:
    """A CSV file with a header; the delimiter is the most frequent one of the header."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as file:
            lines = _Lines(file, path, 0)
            header = next(iter(lines), "")
            self._start = lines.offset
        self._delimiter = max(DELIMITERS, key=header.count)
        self.columns = next(csv.reader([header], delimiter=self._delimiter), [])

    def all(self) -> Iterator[tuple[int, Row]]:
        """Each row with its offset."""
        return self._from(self._start)

    def at(self, position: int, count: int) -> Iterator[Row]:
        """Consecutive rows from an offset on."""
        return (row for _, row in islice(self._from(position), count))

    def _from(self, start: int) -> Iterator[tuple[int, Row]]:
        with open(self.path, "rb") as file:
            lines = _Lines(file, self.path, start)
            cells = csv.reader(lines, delimiter=self._delimiter)
            while True:
                position = lines.offset
                try:
                    row = next(cells, None)
                except csv.Error as error:
                    raise ImportFailed(f"{self.path} cannot be read as CSV at byte {position:,}: {error}") from None
                if row is None:
                    return
                if row:
                    yield position, dict(zip(self.columns, row))


class JsonRows:
    """A file with a JSON object in each line; nested names are joined by `/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found: dict[str, None] = {}
        for _, row in islice(self.all(), 100):
            found.update(dict.fromkeys(row))
        self.columns = list(found)

    def all(self) -> Iterator[tuple[int, Row]]:
        """Each row with its offset."""
        return self._from(0)

    def at(self, position: int, count: int) -> Iterator[Row]:
        """Consecutive rows from an offset on."""
        return (row for _, row in islice(self._from(position), count))

    def _from(self, start: int) -> Iterator[tuple[int, Row]]:
        with open(self.path, "rb") as file:
            lines = _Lines(file, self.path, start)
            position = start
            for line in lines:
                row = self._parsed(line, position)
                if row is not None:
                    yield position, row
                position = lines.offset

    def _parsed(self, line: str, position: int) -> Row | None:
        if not line.strip():
            return None
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ImportFailed(f"{self.path} has no JSON object at byte {position:,}: {error}") from None
        if not isinstance(value, dict):
            raise ImportFailed(f"{self.path} has a {type(value).__name__} at byte {position:,}, not a JSON object")
        return dict(_flat("", value))


def _flat(prefix: str, values: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}/", value)
        else:
            yield f"{prefix}{name}", value


class ParquetRows:
    """A Parquet file, read by pyarrow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            import pyarrow.parquet
        except ImportError:
            raise ImportFailed(f"{path} needs pyarrow to be read. Type: pip install pyarrow") from None
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise ImportFailed(f"{path} cannot be read as Parquet: {error}") from None
        self.columns = list(self._file.schema_arrow.names)

    def all(self) -> Iterator[tuple[int, Row]]:
        """Each row with its number."""
        return enumerate(self._rows(range(self._file.num_row_groups)))

    def at(self, position: int, count: int) -> Iterator[Row]:
        """Consecutive rows from a number on; only their row groups are read."""
        groups: list[int] = []
        first = before = 0
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if before + rows > position and before < position + count:
                first = first if groups else before
                groups.append(group)
            before += rows
        return islice(self._rows(groups), position - first, position - first + count)

    def _rows(self, groups: Iterable[int]) -> Iterator[Row]:
        import pyarrow

        try:
            for batch in self._file.iter_batches(BATCH_ROWS, row_groups=list(groups)):
                for row in batch.to_pylist():
                    yield dict(_flat("", row))
        except (pyarrow.ArrowException, OSError) as error:
            raise ImportFailed(f"{self.path} is damaged: {error}") from None
