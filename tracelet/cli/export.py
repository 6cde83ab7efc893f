"""`tracelet export RUN`: every point of a run as CSV, JSON or Parquet. Floats round-trip exactly."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from tracelet.cli.formatting import as_json, value
from tracelet.cli.options import checked_metrics, store_option
from tracelet.cli.output import console, opened, writing
from tracelet.store.run import Run
from tracelet.store.series import Series
from tracelet.store.store import Store

if TYPE_CHECKING:
    import pyarrow

COLUMNS = ("metric", "step", "value", "time", "epoch", "stage", "fit")
AT_ONCE = 50_000
"""Rows converted to text at once, so that memory does not grow with the run."""
WORTH_A_BAR = 1_000_000
"""Points from which an export takes seconds."""

Row = tuple[str, int, float, float, int | None, str, int]


@click.command()
@click.argument("run")
@click.option(
    "--format", "-f", "format", type=click.Choice(("csv", "json", "parquet")),
    help="Output format (default: the suffix of --output, otherwise csv).",
)  # fmt: skip
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file (default: standard output).",
)  # fmt: skip
@click.option("--metric", "metrics", metavar="NAME", multiple=True, help="Export only this metric (repeatable).")
@click.option("--rank", type=int, help="Export the points of one rank of a distributed run (default: aggregated).")
@store_option
def export(
    store: Store, run: str, format: str | None, output: Path | None, metrics: tuple[str, ...], rank: int | None
) -> None:
    """Export the points of a run, one row per point.

    Columns: metric, step, value, time, epoch, stage, fit. Times are Unix timestamps in seconds (UTC). The epoch is
    empty for points logged outside an epoch.

    RUN is a run id, a unique id prefix, a run name, or `latest`.
    """
    found = store.run(run)
    names = checked_metrics(metrics, found) or found.metrics()
    format = format or _by_name(output)
    series = _reported(found, _present(found, names, rank), rank)
    if format == "parquet":
        _write_parquet(series, output)
        return
    write = _write_csv if format == "csv" else _json_writer(found)
    with opened(output) as stream:
        write(series, stream)


def _by_name(output: Path | None) -> str:
    ending = output.suffix.lower().lstrip(".") if output is not None else ""
    return ending if ending in ("csv", "json", "parquet") else "csv"


def _present(run: Run, names: list[str], rank: int | None) -> list[str]:
    """The metrics that the rank has; a usage error if it has none."""
    if rank is None:
        return names
    ranks = {view.started.rank: set(view.metrics) for view in run.views if view.started and view.started.role == "rank"}
    present = [name for name in names if name in ranks.get(rank, set())]
    if names and not present:
        raise click.UsageError(f"rank {rank} of run {run.id} has none of these metrics. Known ranks: {sorted(ranks)}")
    return present


def _reported(run: Run, names: list[str], rank: int | None) -> Iterator[Series]:
    """The series one after the other, with a progress bar on stderr if it is a terminal and the export takes long."""
    summaries = run.summaries()
    total = sum(summaries[name].count for name in names)
    if total < WORTH_A_BAR or not sys.stderr.isatty():
        yield from (run.series(name, rank) for name in names)
        return
    from rich.progress import Progress

    with Progress(console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("exporting", total=total)
        for name in names:
            yield run.series(name, rank)
            progress.advance(task, summaries[name].count)


def _rows(series: Series) -> Iterator[Row]:
    stages, fits = series.stages, series.fits
    for start in range(0, len(series), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        columns = (column[part].tolist() for column in (series.steps, series.values, series.times, series.epochs, fits))
        for step, point, time, epoch, fit, stage in zip(*columns, stages[part]):
            yield series.name, step, point, time, None if epoch < 0 else epoch, stage, fit


def _write_csv(series: Iterable[Series], stream: IO[str]) -> None:
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(COLUMNS)
    for one in series:
        shown = replace(one, name=value(one.name)) if stream.isatty() else one
        rows.writerows(map(_csv_row, _rows(shown)))


def _csv_row(row: Row) -> tuple[Any, ...]:
    """Floats as their repr, which float() reads back exactly; `NaN` as every reader of CSV spells it."""
    return (*row[:2], "NaN", *row[3:]) if row[2] != row[2] else row


def _json_writer(run: Run) -> Callable[[Iterable[Series], IO[str]], None]:
    def write(series: Iterable[Series], stream: IO[str]) -> None:
        info = run.info
        head = {"id": info.id, "name": info.name, "project": info.project, "status": info.status, "params": run.params}
        stream.write(as_json(head)[:-2] + ',\n  "metrics": {')
        for place, one in enumerate(series):
            stream.write(
                ("," if place else "") + f"\n    {as_json(one.name, indent=None)}: {as_json(_columns(one), None)}"
            )
        stream.write("\n  }\n}\n")

    return write


def _columns(series: Series) -> dict[str, Any]:
    return {
        "step": series.steps.tolist(), "value": series.values.tolist(), "time": series.times.tolist(),
        "epoch": [None if epoch < 0 else epoch for epoch in series.epochs.tolist()],
        "stage": series.stages, "fit": series.fits.tolist(),
    }  # fmt: skip


def _write_parquet(series: Iterable[Series], output: Path | None) -> None:
    try:
        from pyarrow import parquet
    except ImportError:
        raise click.ClickException(
            "Parquet export needs pyarrow. Type: pip install pyarrow, or use --format csv"
        ) from None
    if output is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is a binary format. Name a file: -o points.parquet")
    with writing(output):
        target, exact = sys.stdout.buffer if output is None else output, [name for name in COLUMNS if name != "value"]
        # Minimum and maximum leave NaN out, and DuckDB skips row groups by them: filters would not see rows with NaN.
        writer = parquet.ParquetWriter(target, _schema(), write_statistics=exact)
    with writer:
        for one in series:
            writer.write_table(_arrow(one))


def _schema() -> pyarrow.Schema:
    import pyarrow

    kinds = (pyarrow.string(), pyarrow.int64(), pyarrow.float64(), pyarrow.float64(), pyarrow.int64(), pyarrow.string())
    return pyarrow.schema(list(zip(COLUMNS, (*kinds, pyarrow.int64()))))


def _arrow(series: Series) -> pyarrow.Table:
    import pyarrow

    columns = _columns(series)
    return pyarrow.table({"metric": [series.name] * len(series), **columns}, schema=_schema())
