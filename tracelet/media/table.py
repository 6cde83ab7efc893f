"""`tracelet.Table`: data frames of pandas and Polars, Arrow tables, columns, and rows. Cells may be media values.

Copied on the program's thread and converted to Arrow on the recorder's. Never imports pandas or Polars.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tracelet.errors import InvalidMedia
from tracelet.journal.media_record import TABLE
from tracelet.media import arrow_file
from tracelet.media.content_folder import ContentFolder
from tracelet.media.media_value import Encoded, MediaValue, Snapshot

MAX_ROWS = 1_000_000
CELL_BYTES = 60
"""Of a Python value in a list, roughly: what a waiting table of rows is taken to hold."""
EXAMPLE = "e.g. Table(frame), Table({'name': ['a', 'b'], 'score': [1, 2]}), or Table(columns=['name'], rows=[['a']])"
FRAMES = {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "Table"}


def frame_library(data: Any) -> str:
    """The library whose data frame it is; empty if it is none."""
    for library, name in FRAMES.items():
        kind = getattr(sys.modules.get(library), name, None)
        if kind is not None and isinstance(data, kind):
            return library
    return ""


class Table(MediaValue):
    """A table of up to a million rows.

    `data`: a data frame of pandas or Polars, an Arrow table, a mapping of names to columns, or a list of mappings.
    Instead: `columns`, the names, and `rows`, the values. A cell may be a `tracelet.Image` or another media value.
    """

    kind: ClassVar[str] = TABLE

    def __init__(self, data: Any = None, caption: str = "", *, columns: Any = None, rows: Any = None) -> None:
        super().__init__(caption)
        if (data is None) == (rows is None) or (rows is not None and columns is None):
            raise InvalidMedia(f"a table has either data, or columns and rows; {EXAMPLE}")
        self._library = frame_library(data)
        self._data: Any = data if self._library else _columns(data, columns, rows)
        self._rows = len(self._data) if self._library else len(next(iter(self._data.values()), ()))
        if self._rows > MAX_ROWS:
            raise InvalidMedia(f"the table has {self._rows:,} rows; the limit is {MAX_ROWS:,}. Log a sample of it")

    def snapshot(self, folder: ContentFolder) -> Snapshot:
        """A copy of the columns. Raises `InvalidMedia` without pyarrow."""
        arrow_file.require()
        if self._library == "pandas":
            return _Frame(self._data.copy(), int(self._data.memory_usage(deep=False).sum()))
        if self._library == "polars":
            return _Frame(self._data.clone(), int(self._data.estimated_size()))
        if self._library:
            return _Frame(self._data, int(self._data.nbytes))  # an Arrow table never changes
        media = {name: _snapshots(values, folder) for name, values in self._data.items()}
        plain = {name: values for name, values in self._data.items() if not media[name]}
        return _Columns(
            list(self._data), plain, {name: found for name, found in media.items() if found},
            self._rows * len(plain) * CELL_BYTES,
        )  # fmt: skip


@dataclass(frozen=True)
class _Frame:
    """A copy of a data frame."""

    frame: Any
    nbytes: int

    def encode(self) -> Encoded:
        content, extra = arrow_file.encode_frame(self.frame)
        return Encoded(TABLE, "arrow", content, extra=extra)


@dataclass(frozen=True)
class _Columns:
    """Copies of columns: plain values, and media of which each cell has a snapshot or None."""

    names: list[str]
    plain: dict[str, list[Any]]
    media: dict[str, list[Snapshot | None]]
    plain_bytes: int

    @property
    def nbytes(self) -> int:
        return self.plain_bytes + sum(cell.nbytes for cells in self.media.values() for cell in cells if cell)

    def encode(self) -> Encoded:
        columns: dict[str, Any] = {}
        attached: list[bytes] = []
        for name in self.names:
            columns[name] = self.plain.get(name)
            if columns[name] is None:
                columns[name] = arrow_file.MediaCells([cell.encode() if cell else None for cell in self.media[name]])
                attached += columns[name].contents()
        content, extra = arrow_file.encode_columns(columns)
        return Encoded(TABLE, "arrow", content, extra=extra, attached=tuple(attached))


def _snapshots(values: Sequence[Any], folder: ContentFolder) -> list[Snapshot | None]:
    """A snapshot of each cell of a column of media; empty for a column of other values."""
    if not any(isinstance(value, MediaValue) for value in values):
        return []
    if any(value is not None and not isinstance(value, MediaValue) for value in values):
        raise InvalidMedia("a column holds media and other values; put them into two columns")
    return [value if value is None else value.snapshot(folder) for value in values]


def _columns(data: Any, names: Any, rows: Any) -> dict[str, list[Any]]:
    """Copies of the columns, by name."""
    if rows is not None:
        titles = [str(name) for name in names]
        ordered = [tuple(row) for row in rows]
        wrong = next((row for row in ordered if len(row) != len(titles)), None)
        if wrong is not None:
            raise InvalidMedia(f"a row has {len(wrong)} values for {len(titles)} columns; {EXAMPLE}")
        return _distinct(titles, [list(column) for column in zip(*ordered)] or [[] for _ in titles])
    if isinstance(data, Mapping):
        columns = {str(name): list(values) for name, values in data.items()}
        if len({len(values) for values in columns.values()}) > 1:
            raise InvalidMedia(f"the columns of a table differ in length; {EXAMPLE}")
        return columns
    if isinstance(data, Sequence) and not isinstance(data, str) and all(isinstance(row, Mapping) for row in data):
        titles = list(dict.fromkeys(str(name) for row in data for name in row))
        return {title: [row.get(title) for row in data] for title in titles}
    raise InvalidMedia(f"a {type(data).__name__} is no table; {EXAMPLE}")


def _distinct(titles: list[str], columns: list[list[Any]]) -> dict[str, list[Any]]:
    if len(set(titles)) < len(titles):
        raise InvalidMedia(f"two columns have the same name; {EXAMPLE}")
    return dict(zip(titles, columns))
