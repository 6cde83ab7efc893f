"""`tracelet import PATH...`: imports runs of other trackers into the store. Sources are only read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import click

from tracelet import registry
from tracelet.cli import CommandError
from tracelet.cli.formatting import counted, visible
from tracelet.cli.options import store_option
from tracelet.cli.output import console, echo
from tracelet.importers import run_import
from tracelet.importers.base import Importer, SourceRun
from tracelet.importers.run_import import Failure
from tracelet.importers.run_writer import Written
from tracelet.importers.tables.importer import TableImporter
from tracelet.importers.tables.layout import TableColumns
from tracelet.store.store import Store, prepare

WATCH_PAUSE = 5.0
"""Seconds between two checks of a source with `--watch`."""
TABLE = TableImporter.name


@click.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("--format", "-f", "format", metavar="FORMAT", help="Import only this format (default: detected).")
@click.option(
    "--project", metavar="NAME", help="Project of the runs (default: the source's project, otherwise 'imported')."
)
@click.option("--step", metavar="COLUMN", default="", help="Of a table: the column with the steps (default: guessed).")
@click.option("--time", metavar="COLUMN", default="", help="Of a table: the column with the times (default: guessed).")
@click.option("--run", metavar="COLUMN", default="", help="Of a table: the column that names the run of each row.")
@click.option("--params", metavar="COLUMNS", default="", help="Of a table: columns with parameters, comma-separated.")
@click.option("--dry-run", is_flag=True, help="List the runs that would be imported without importing them.")
@click.option("--watch", is_flag=True, help="Keep importing new data every 5 seconds, until Ctrl-C.")
@store_option
def import_runs(
    store: Store, paths: tuple[Path, ...], format: str | None, project: str | None, step: str, time: str, run: str,
    params: str, dry_run: bool, watch: bool,
) -> None:  # fmt: skip
    """Import runs that other trackers recorded. PATH is a file, or a folder that is searched recursively.

    Sources are never modified. Importing the same source again adds only new points, and an interrupted import resumes.
    """
    columns = TableColumns(step, time, run, tuple(name.strip() for name in params.split(",") if name.strip()))
    format = format or (TABLE if columns != TableColumns() else None)
    importers = all_importers()
    importers[TABLE] = TableImporter(columns, in_folders=format == TABLE)
    if format is not None and format not in importers:
        raise CommandError(f"unknown format {visible(format)!r}. Formats: {', '.join(importers)}")
    if columns != TableColumns() and format != TABLE:
        raise CommandError(f"--step, --time, --run and --params name columns of a table, and {format} has none")
    if dry_run:
        found = run_import.find(paths, importers, format)
        _show_notes(found)
        for one in found:
            echo(f"{one.format:12} {visible(one.name)}  {visible(str(one.path))}")
        return
    failures = _import_once(store, paths, importers, format, project)
    while watch:
        try:
            sleep(WATCH_PAUSE)
        except KeyboardInterrupt:
            break
        failures = _import_once(store, paths, importers, format, project, quiet=True)
    if failures:
        sys.exit(1)


def all_importers() -> dict[str, Importer]:
    """Every importer, built-in and of other packages, in the order in which they are tried."""
    return {name: make() for name, make in registry.plugins("importers", registry.IMPORTERS)}


def _import_once(
    store: Store,
    paths: Sequence[Path],
    importers: dict[str, Importer],
    format: str | None,
    project: str | None,
    quiet: bool = False,
) -> int:
    """Import everything; returns the number of failed runs. `quiet` prints only runs with new data."""
    runs = run_import.find(paths, importers, format)
    if not quiet:
        _show_notes(runs)
    prepare(str(store.root))
    failures = points = 0
    with progress_bar(len(runs)) as progress:
        for outcome in run_import.import_runs(runs, importers, store.root, project, progress):
            if isinstance(outcome, Written):
                points += outcome.points
                if outcome.points or not quiet:
                    echo(_sentence(outcome))
            else:
                failures += 1
                echo(told_failure(outcome))
    if not quiet:
        total = f"{counted(len(runs) - failures, 'run')}, {counted(points, 'new point')}"
        echo(f"{total}. List them: tracelet ls --dir {store.root}")
    return failures


def _show_notes(runs: Sequence[SourceRun]) -> None:
    """What importers assume about each path, said once."""
    for path, note in dict.fromkeys((run.path, run.note) for run in runs if run.note):
        echo(f"{visible(str(path))}: {visible(note)}")


def told_failure(failure: Failure) -> str:
    """One line about a run that could not be read."""
    return f"failed: {visible(str(failure.run.path))}: {visible(failure.reason)}"


def _sentence(written: Written) -> str:
    known = f", {written.known:,} already imported" if written.known else ""
    return f"{written.run}  {visible(written.name)}: {counted(written.points, 'new point')}{known}"


@contextmanager
def progress_bar(runs: int) -> Iterator[Callable[[SourceRun, int], None]]:
    """Reports progress on stderr if it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda run, points: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,} points"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"importing {counted(runs, 'run')}", total=None)

        def show(run: SourceRun, points: int) -> None:
            progress.update(task, description=f"importing {visible(run.name)}", advance=points)

        yield show
