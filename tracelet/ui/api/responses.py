"""Response formats: JSON without NaN, CSV, Arrow, and files that a browser downloads instead of showing."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from fastapi import HTTPException, Response
from fastapi.responses import FileResponse

from tracelet.capture.sanitize import storable_text
from tracelet.store.series import Series

SHEET_FORMULA = re.compile(r"^[=+\-@\t\r]")
"""First characters that a spreadsheet would execute as a formula."""


class Json(Response):
    """JSON encoded by msgspec: fast, with NaN and infinities as null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        try:
            return msgspec.json.encode(content, enc_hook=str)
        except UnicodeEncodeError:  # it contains the name of a folder or file that is not valid text
            return msgspec.json.encode(_readable(msgspec.to_builtins(content, enc_hook=str)))


def _readable(found: Any) -> Any:
    if isinstance(found, dict):
        return {_readable(name): _readable(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_readable(value) for value in found]
    return storable_text(found) if isinstance(found, str) else found


def disposition(name: str) -> dict[str, str]:
    """Headers that make a browser save the body under this name, whatever its content."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[-120:] or "file"
    value = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name[-200:], safe='')}"
    return {"Content-Disposition": value, "Content-Security-Policy": "sandbox; default-src 'none'"}


def download(path: Path, name: str) -> FileResponse:
    """A file as bytes without a type, to download."""
    return FileResponse(path, media_type="application/octet-stream", headers=disposition(name))


def as_csv(all_series: Sequence[tuple[str, Series]], name: str) -> Response:
    """Every point: run, metric, step, time, epoch, value, floats exact."""
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(["run", "metric", "step", "time", "epoch", "value"])
    for run_id, series in all_series:
        writer.writerows(_rows(run_id, series))
    return Response(rows.getvalue(), media_type="text/csv", headers=disposition(name))


def _rows(run_id: str, series: Series) -> Iterator[list[Any]]:
    title = "'" + series.name if SHEET_FORMULA.match(series.name) else series.name
    columns = (series.steps.tolist(), series.times.tolist(), series.epochs.tolist(), series.values.tolist())
    for step, time, epoch, value in zip(*columns):
        yield [
            run_id,
            title,
            step,
            repr(time),
            epoch if epoch >= 0 else "",
            repr(value) if math.isfinite(value) else value,
        ]


def as_arrow(all_series: Sequence[tuple[str, Series]], name: str) -> Response:
    """Every point as an Arrow stream. Status 400 without pyarrow."""
    try:
        import pyarrow
    except ImportError as error:
        raise HTTPException(
            400, "Arrow needs pyarrow in the Python of the dashboard: pip install pyarrow. CSV works without it"
        ) from error
    tables = [
        pyarrow.table({
            "run": [run_id] * len(series), "metric": [series.name] * len(series), "step": series.steps,
            "time": series.times, "epoch": series.epochs, "value": series.values,
        })
        for run_id, series in all_series
    ]  # fmt: skip
    sink = pyarrow.BufferOutputStream()
    table = pyarrow.concat_tables(tables)
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue().to_pybytes()
    return Response(body, media_type="application/vnd.apache.arrow.stream", headers=disposition(name))
