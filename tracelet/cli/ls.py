"""`tracelet ls`: the runs of a store, newest first, pinned runs at the top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tracelet.cli.formatting import ago, as_json, counted, duration, value
from tracelet.cli.ls_columns import FIXED, KINDS, Column, columns_named, quoted_numbers, sort_key, titles
from tracelet.cli.options import check_known, dir_hint, known_metrics, store_option
from tracelet.cli.output import STATUS_STYLES, console, fit_to_width, print_block, shorten, table
from tracelet.journal.records import STATUSES
from tracelet.store.filtering import MISSING, namespace
from tracelet.store.fit_filtering import FIT, fit_namespaces, select
from tracelet.store.run import Run
from tracelet.store.run_info import RunInfo
from tracelet.store.search import Search
from tracelet.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

DEFAULT_METRICS = 3
"""Metrics shown by default: as many as fit beside the other columns in 120 characters."""
HEAD_SHARE = 4
"""The maximum share of a terminal's width for a name in a column header."""

Row = tuple[Run, dict[str, Any]]
"""A run and its fields for filters, read once."""


@click.command()
@click.option("--project", help="List only runs of this project.")
@click.option("--status", type=click.Choice(STATUSES), help="List only runs with this status.")
@click.option(
    "--filter", "expression", metavar="EXPR",
    help="""List only runs that match: words, status:failed, tag:NAME, val/loss < 0.2""",
)  # fmt: skip
@click.option("--metric", "metrics", metavar="NAME", multiple=True, help="Show a metric's last value (repeatable).")
@click.option("--param", "params", metavar="NAME", multiple=True, help="Show a parameter (repeatable).")
@click.option(
    "--sort", metavar="COLUMN",
    help="Sort by a column, metric or parameter, ascending (default: start time, newest first).",
)  # fmt: skip
@click.option("--reverse", is_flag=True, help="Reverse the order.")
@click.option("--limit", type=click.IntRange(min=1), help="List at most this many runs (default: all).")
@click.option("--fits", is_flag=True, help="List each fit of a run with several fits.")
@click.option("--archived", is_flag=True, help="List archived runs too.")
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@store_option
@click.pass_context
def ls(
    ctx: click.Context, store: Store, project: str | None, status: str | None, expression: str | None,
    metrics: tuple[str, ...], params: tuple[str, ...], sort: str | None, reverse: bool, limit: int | None,
    fits: bool, archived: bool, in_json: bool,
) -> None:  # fmt: skip
    """List runs, newest first; runs pinned in the dashboard come first.

    Of a run with several fits, a filter that only some of them match lists those, as RUN:2.
    """
    rows = [(run, namespace(run)) for run in store.runs(project, status)]
    rows = [row for row in rows if archived or not row[1]["archived"]]
    if fits:
        rows = [(run, fit) for run, names in rows for fit in fit_namespaces(run, names) or [names]]
    chosen = Search(expression) if expression is not None else None
    asked = [*_asked(store, rows, "params", params), *_asked(store, rows, "metrics", metrics)]
    quoted = []
    if chosen is not None:
        quoted = quoted_numbers(chosen, _namespaces(rows))
        rows = filtered(rows, chosen)
    by = None if sort is None else _sort_column(store, rows, sort, asked)
    rows = _sorted(rows, by, reverse)[:limit]
    if in_json:
        click.echo(as_json([row_as_json(row) for row in rows]))
    elif rows:
        named = [
            column
            for name in sorted(chosen.names if chosen else ())
            for column in columns_named(name, _namespaces(rows))
        ]
        notable = [] if asked else _default_metrics(rows)
        _print(rows, [*asked, *([by] if by else []), *named], notable)
    else:
        click.echo(_no_runs_message(store, quoted, dir_hint(ctx)), err=True)


def _no_runs_message(store: Store, quoted: list[str], hint: str) -> str:
    """The message instead of a table: there are no runs, or none match."""
    count = len(store.runs())
    if not count:
        return f"no runs in {store.root}. Record one: tracelet demo{hint}"
    found = f"no runs match (of {counted(count, 'run')} in {store.root}). "
    if quoted:
        return found + f"{quoted[0]} is a number: remove the quotes around the value it is compared with."
    return found + f"To list all: tracelet ls{hint}"


def _namespaces(rows: list[Row]) -> list[dict[str, Any]]:
    return [names for _, names in rows]


def _asked(store: Store, rows: list[Row], table: str, names: Sequence[str]) -> list[Column]:
    """The columns with these names; an error if no run of the store has one, unless it has no runs."""
    if not all(any(name in found[table] for found in _namespaces(rows)) for name in names):
        runs = store.runs()
        known = known_metrics(runs) if table == "metrics" else sorted({name for run in runs for name in run.params})
        if runs:
            check_known(names, known, f"no run in {store.root} has a {KINDS[table]}")
    return [Column(name, table) for name in names]


def filtered(rows: list[Row], chosen: Search) -> list[Row]:
    """The runs that match as a whole, and the matching fits of the others; an error for names that nothing has."""
    by_fit = [(run, names, [] if FIT in names else fit_namespaces(run, names)) for run, names in rows]
    return [(run, names) for run, found in select(by_fit, chosen) for names in found]


def _sort_column(store: Store, rows: list[Row], name: str, asked: list[Column]) -> Column | None:
    """The column with this name: a field, else a shown column, else a parameter or metric; None without runs."""
    found = columns_named(name, _namespaces(rows))
    if not found or found[0].table:
        found = [column for column in asked if column.name == name] or found
    if not found and (runs := store.runs()):
        found = columns_named(name, [{"params": run.params, "metrics": run.summaries()} for run in runs])
        known = [*(column.name for column in FIXED), *sorted({name for run in runs for name in run.params})]
        lacking = f"no run in {store.root} has a column, parameter or metric"
        check_known([] if found else [name], [*known, *known_metrics(runs)], lacking)
    return found[0] if found else None


def _sorted(rows: list[Row], by: Column | None, reverse: bool) -> list[Row]:
    """Rows without a value in the column come last in both directions."""
    if by is None:
        rows = rows[::-1] if reverse else rows
        return sorted(rows, key=lambda row: not row[1]["pinned"])
    found = [(sort_key(by.of(names)), (run, names)) for run, names in rows]
    present = sorted(((key, row) for key, row in found if key is not None), key=lambda pair: pair[0], reverse=reverse)
    return [row for _, row in present] + [row for key, row in found if key is None]


def _default_metrics(rows: list[Row]) -> list[Column]:
    """The metrics that most of the runs have, among those that the programs logged themselves."""
    common = Counter(name for run, _ in rows for name, summary in run.summaries().items() if not summary.automatic)
    names = sorted(sorted(common), key=lambda name: (-common[name], name.startswith("train"), name))[:DEFAULT_METRICS]
    return [Column(name, "metrics") for name in names]


def row_as_json(row: Row) -> dict[str, Any]:
    """One run in the form of the JSON."""
    run, names = row
    info = run.info
    return {
        "id": info.id, "name": info.name, "project": info.project, "status": names["status"], "reason": info.reason,
        "started": info.started, "ended": info.ended, "duration": names["duration"], "host": info.host,
        "world_size": info.world_size, "command": list(info.command), "folder": info.folder,
        "metrics": names["metrics"], "params": names["params"], "tags": names["tags"],
        "pinned": info.pinned, **({FIT: names[FIT]} if FIT in names else {}),
    }  # fmt: skip


def _print(rows: list[Row], asked: list[Column], notable: list[Column]) -> None:
    """The table; a narrow terminal drops some columns, but not those requested by name."""
    target = console()
    columns = list(dict.fromkeys([*FIXED, *asked, *notable]))
    order = (*reversed(notable[1:]), *map(Column, ("project", "duration", "started")), *notable[:1])
    shown: list[Column] = []

    def build(kept: list[Column]) -> Table:
        shown[:] = kept
        return _table(target, rows, kept)

    print_block(target, fit_to_width(target, build, columns, [column for column in order if column not in asked]))
    dropped = [column.name for column in columns if column not in shown]
    if dropped:
        target.print(f"not shown for lack of width: {', '.join(dropped)}", style="dim")


def _table(target: Console, rows: list[Row], columns: list[Column]) -> Table:
    heads = [shorten(target, title, HEAD_SHARE) for title in titles(columns)]
    numeric = tuple(head for head, column in zip(heads, columns) if column.table or column.name in ("duration", "age"))
    shown = table(*heads, right=numeric)
    for made, column in zip(shown.columns, columns):
        made.no_wrap = made.no_wrap or column.name in ("id", "status", "started")
    for run, names in rows:
        shown.add_row(*(_cell(run.info, names, column) for column in columns))
    return shown


def _cell(info: RunInfo, names: dict[str, Any], column: Column) -> RenderableType:
    from rich.text import Text

    found = column.of(names)
    if column == Column("status"):
        return Text(value(found), STATUS_STYLES.get(found, ""))
    if column == Column("id") and FIT in names:
        return f"{value(found)}:{names[FIT]}"
    if column == Column("started"):
        return ago(info.started)
    if column in (Column("duration"), Column("age")):
        return duration(found)
    mark = "* " if column == Column("name") and info.pinned else ""
    return "-" if found is MISSING else mark + value(found)
