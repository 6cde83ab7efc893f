"""Tables as Arrow files, and back: types, nulls, NaN and order are kept. The one file that imports pyarrow.

Used on the recorder's thread, and by readers on any. The file is uncompressed, so that a reader takes rows out of the
middle without reading the others, and secrets can be masked in place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracelet.errors import InvalidMedia, install_command
from tracelet.media.media_value import Encoded, Stored

BATCH_ROWS = 65_536
"""Rows of one batch, which is what a page of the dashboard reads at once."""
MEDIA_FIELD = b"tracelet.media"
"""In the metadata of a column whose cells are media: the cells are `KIND/FORMAT/DIGEST`."""


class MediaCells:
    """A column of media values, or None."""

    def __init__(self, cells: Sequence[Encoded | None]) -> None:
        self.cells = cells

    def contents(self) -> list[bytes]:
        """The bytes that are to be stored."""
        return [cell.content for cell in self.cells if cell and isinstance(cell.content, bytes)]

    def references(self) -> Iterator[str | None]:
        """What the cells hold instead."""
        for cell in self.cells:
            if cell is None:
                yield None
                continue
            content = cell.content
            digest = content.digest if isinstance(content, Stored) else hashlib.sha256(content).hexdigest()
            yield f"{cell.kind}/{cell.format}/{digest}"


def require() -> None:
    """Raise `InvalidMedia` if pyarrow is missing."""
    try:
        import pyarrow  # noqa: F401  # is it there?
    except ImportError:
        raise InvalidMedia(f"tables need pyarrow. Type {install_command('tables')}") from None


def encode_frame(frame: Any) -> tuple[bytes, dict[str, Any]]:
    """A data frame of pandas or Polars, or an Arrow table, as a file; and its description."""
    import pyarrow

    if isinstance(frame, pyarrow.Table):
        return _file(frame, [])
    if hasattr(frame, "to_arrow"):
        return _file(frame.to_arrow(), [])
    if frame.index.nlevels > 1 or frame.index.name is not None or not _is_count(frame.index):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise InvalidMedia("two columns of the data frame have the same name")
    return encode_columns({name: frame.iloc[:, place] for place, name in enumerate(names)})


def encode_columns(columns: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Columns (lists, pandas series, or media) as a file; and its description."""
    import pyarrow

    fields, data, as_text = [], [], []
    for name, values in columns.items():
        media = isinstance(values, MediaCells)
        column, converted = (pyarrow.array(list(values.references()), pyarrow.string()), False) if media else (
            _array(values)
        )  # fmt: skip
        data.append(column)
        as_text += [name] if converted else []
        fields.append(pyarrow.field(name, column.type, metadata={MEDIA_FIELD: b"1"} if media else None))
    return _file(pyarrow.Table.from_arrays(data, schema=pyarrow.schema(fields)), as_text)


def decode(content: bytes) -> Any:
    """The file as a `pyarrow.Table`. Raises `InvalidMedia`."""
    require()
    import pyarrow

    try:
        return pyarrow.ipc.open_file(pyarrow.BufferReader(content)).read_all()
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidMedia(f"the table is damaged: {error}") from None


def _is_count(index: Any) -> bool:
    return type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1


def _array(values: Any) -> tuple[Any, bool]:
    """A column as an Arrow array, and whether its values had to be converted to strings."""
    import pyarrow

    if getattr(getattr(values, "dtype", None), "kind", "") == "f" and hasattr(values.dtype, "itemsize"):
        try:  # numpy's floats: a NaN is a value, and not a missing one as pandas has it
            return pyarrow.array(values.to_numpy(), from_pandas=False), False
        except (pyarrow.ArrowException, AttributeError):
            pass
    try:
        if isinstance(values, list):
            return pyarrow.array([_plain(value) for value in values], from_pandas=False), False
        found = pyarrow.Array.from_pandas(values)
        return (found.combine_chunks() if isinstance(found, pyarrow.ChunkedArray) else found), False
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
        texts = [None if value is None else str(value) for value in values]
        return pyarrow.array(texts, pyarrow.string()), True


def _plain(value: Any) -> Any:
    """A scalar of numpy or torch as Python's; any other value as it is."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    return value.tolist() if hasattr(value, "tolist") and hasattr(value, "shape") else value


def _file(table: Any, as_text: list[str]) -> tuple[bytes, dict[str, Any]]:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    extra: dict[str, Any] = {
        "rows": table.num_rows,
        "columns": {field.name: str(field.type) for field in table.schema},
    }
    if as_text:
        extra["as_text"] = as_text
    return sink.getvalue().to_pybytes(), extra
