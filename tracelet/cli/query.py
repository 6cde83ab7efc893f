"""`tracelet query "select ..."`: SQL over all runs of a store, as a table, CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import datetime
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from tracelet.cli.formatting import as_json, number, visible
from tracelet.cli.options import store_option
from tracelet.cli.output import console, echo, opened, print_block, table, writing
from tracelet.store.sql.query import query as run_query
from tracelet.store.store import Store

if TYPE_CHECKING:
    import pyarrow

MAX_ROWS = 1000
"""Rows that a terminal's table shows."""

Rows = Iterator[tuple[Any, ...]]


@click.command()
@click.argument("sql")
@click.option(
    "--format", "-f", "format", type=click.Choice(("table", "csv", "json", "parquet")),
    help="Output format (default: a table; in a file by its suffix, otherwise CSV). JSON is one object per line.",
)  # fmt: skip
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file (default: standard output).",
)  # fmt: skip
@click.option("--filter", "expression", metavar="EXPR", help="Read only runs that match, as in tracelet ls.")
@click.option("--metric", "metrics", metavar="NAME", multiple=True, help="Read only this metric (repeatable).")
@store_option
def query(
    store: Store, sql: str, format: str | None, output: Path | None, expression: str | None, metrics: tuple[str, ...]
) -> None:
    """Run an SQL query over the runs of a store, e.g. select name, status from runs.

    Tables: runs, params, tags, metrics, points, spans, events, artifacts. To list the columns of one, type: tracelet
    query "describe points". SQL is `-` to read the query from standard input. DuckDB runs the query; the store is only
    read.
    """
    sql = sys.stdin.read() if sql == "-" else sql
    with run_query(sql, lambda: store.matching(expression), metrics) as rows:
        _write(rows, format or _by_suffix(output), output)


def _by_suffix(output: Path | None) -> str:
    if output is None:
        return "table"
    return {"json": "json", "jsonl": "json", "parquet": "parquet"}.get(output.suffix.lower().lstrip("."), "csv")


def _write(rows: pyarrow.RecordBatchReader, format: str, output: Path | None) -> None:
    listed = (row for batch in rows for row in zip(*(column.to_pylist() for column in batch.columns)))
    if format == "table":
        if output is not None:
            raise click.UsageError("A table is printed. For a file, type: --format csv, json or parquet")
        _print_table(rows.schema.names, listed)
    elif format == "parquet":
        _write_parquet(rows, output)
    else:
        write = _write_csv if format == "csv" else _write_json
        with opened(output) as stream:
            write(rows.schema.names, listed, stream)


def _print_table(names: list[str], rows: Rows) -> None:
    target = console()
    shown = list(islice(rows, MAX_ROWS)) if target.is_terminal else list(rows)
    numeric = [name for place, name in enumerate(names) if all(_is_number(row[place]) for row in shown)]
    made = table(*map(visible, names), right=tuple(map(visible, numeric)))
    for row in shown:
        made.add_row(*(visible(_cell(value)) for value in row))
    print_block(target, made)
    if next(rows, None) is not None:
        echo(f"Only the first {MAX_ROWS:,} rows are shown. For all of them: -o rows.csv", err=True)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return number(value)
    return str(_built_in(value))


def _built_in(value: Any) -> Any:
    """A value as JSON has it; times are UTC."""
    if isinstance(value, datetime.datetime):
        return value.isoformat() + ("" if value.tzinfo else "Z")
    if isinstance(value, (list, tuple)):
        return [_built_in(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _built_in(one) for key, one in value.items()}
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def _write_csv(names: list[str], rows: Rows, stream: IO[str]) -> None:
    lines = csv.writer(stream, lineterminator="\n")
    lines.writerow(names)
    lines.writerows(["NaN" if value != value else _built_in(value) for value in row] for row in rows)


def _write_json(names: list[str], rows: Rows, stream: IO[str]) -> None:
    for row in rows:
        stream.write(as_json(dict(zip(names, map(_built_in, row))), indent=None) + "\n")


def _write_parquet(rows: pyarrow.RecordBatchReader, output: Path | None) -> None:
    from pyarrow import parquet

    if output is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is a binary format. Name a file: -o rows.parquet")
    target = sys.stdout.buffer if output is None else output
    with writing(output), parquet.ParquetWriter(target, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)
