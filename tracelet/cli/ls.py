"""`tracelet ls`: the runs of a store, newest first; pinned ones before the others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from tracelet.cli.console import STATUS_STYLES, console, fitting, put, table
from tracelet.cli.options import dir_hint, store_option
from tracelet.cli.wording import ago, as_json, duration, value
from tracelet.errors import FilterError
from tracelet.filtering import Filter, namespace
from tracelet.info import RunInfo
from tracelet.records import STATUSES
from tracelet.run import Run
from tracelet.store import Store

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

OWN_CHOICE = 3
"""Metrics shown when none is asked for: what fits beside the other columns in 120 characters."""
COLUMNS = ("id", "name", "project", "status", "started", "duration")

Row = tuple[Run, dict[str, Any]]
"""A run and what a filter sees of it, read once."""


@click.command()
@click.option("--project", help="Only runs of this project.")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs that ended so, or are running.")
@click.option("--filter", "expression", metavar="EXPR", help="""Such as: lr < 0.01 and metrics["val/loss"] < 0.2""")
@click.option("--metric", "metrics", metavar="NAME", multiple=True, help="Show this metric's last value (repeatable).")
@click.option("--param", "params", metavar="NAME", multiple=True, help="Show this parameter (repeatable).")
@click.option("--sort", metavar="COLUMN", help="A column, metric or parameter to sort by, least first.")
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@store_option
@click.pass_context
def ls(
    ctx: click.Context, store: Store, project: str | None, status: str | None, expression: str | None,
    metrics: tuple[str, ...], params: tuple[str, ...], sort: str | None, reverse: bool, limit: int | None,
    in_json: bool,
) -> None:  # fmt: skip
    """List runs, newest first; those that were pinned in the dashboard before the others."""
    rows = [(run, namespace(run)) for run in store.runs(project, status)]
    if expression is not None:
        rows = _filtered(rows, Filter(expression))
    rows = _sorted(rows, sort, reverse)[:limit]
    if in_json:
        click.echo(as_json([_described(row) for row in rows]))
    elif rows:
        _print(rows, list(metrics), list(params))
    else:
        which = "no runs" if not (project or status or expression) else "no such runs"
        click.echo(f"{which} in {store.root}. Record one: tracelet demo{dir_hint(ctx)}", err=True)


def _filtered(rows: list[Row], chosen: Filter) -> list[Row]:
    if rows:
        chosen.check_names({name for _, names in rows for name in names})
    return [(run, names) for run, names in rows if chosen.matches(names)]


def _sorted(rows: list[Row], column: str | None, reverse: bool) -> list[Row]:
    """Rows that have nothing in the column come last in both directions."""
    if column is None:
        rows = rows[::-1] if reverse else rows
        return sorted(rows, key=lambda row: not row[1]["pinned"])
    found = [(_sort_key(names, column), (run, names)) for run, names in rows]
    if rows and all(key is None for key, _ in found):
        raise FilterError(
            f"no run has a column, metric or parameter {column!r} to sort by. Columns: {', '.join(COLUMNS)}"
        )
    present = sorted(((key, row) for key, row in found if key is not None), key=lambda pair: pair[0], reverse=reverse)
    return [row for _, row in present] + [row for key, row in found if key is None]


def _sort_key(names: dict[str, Any], column: str) -> tuple[int, float, str] | None:
    """Numbers before texts; None for what is missing or NaN."""
    found = names.get(column)
    if found is None or found != found or isinstance(found, dict):
        return None
    return (0, float(found), "") if isinstance(found, (int, float)) else (1, 0.0, str(found))


def _telling(rows: list[Row]) -> list[str]:
    """The metrics that most of the runs have, of those that the programs logged themselves."""
    common = Counter(name for run, _ in rows for name, summary in run.summaries().items() if not summary.automatic)
    return sorted(sorted(common), key=lambda name: (-common[name], name.startswith("train"), name))[:OWN_CHOICE]


def _described(row: Row) -> dict[str, Any]:
    run, names = row
    info = run.info
    return {
        "id": info.id, "name": info.name, "project": info.project, "status": info.status, "reason": info.reason,
        "started": info.started, "ended": info.ended, "duration": info.duration, "host": info.host,
        "world_size": info.world_size, "command": list(info.command), "folder": info.folder,
        "metrics": names["metrics"], "params": names["params"], "tags": names["tags"],
        "pinned": info.pinned,
    }  # fmt: skip


def _print(rows: list[Row], metrics: list[str], params: list[str]) -> None:
    """The table; in a narrow terminal without some columns, but those asked for by name stay."""
    target = console()
    asked = [*params, *metrics]
    chosen = [] if asked else _telling(rows)
    droppable = [*reversed(chosen), "project", "duration", "started"]
    put(target, fitting(target, lambda columns: _table(rows, columns), [*COLUMNS, *asked, *chosen], droppable))


def _table(rows: list[Row], columns: list[str]) -> Table:
    numeric = tuple(column for column in columns if column == "duration" or column not in COLUMNS)
    shown = table(*columns, right=numeric)
    for column, name in zip(shown.columns, columns):
        column.no_wrap = column.no_wrap or name in ("id", "status", "started")
    for run, names in rows:
        shown.add_row(*(_cell(run.info, names, column) for column in columns))
    return shown


def _cell(info: RunInfo, names: dict[str, Any], column: str) -> RenderableType:
    from rich.text import Text

    if column == "status":
        return Text(value(info.status), STATUS_STYLES.get(info.status, ""))
    if column in ("started", "duration"):
        return ago(info.started) if column == "started" else duration(info.duration)
    found = names.get(column)
    mark = "* " if column == "name" and info.pinned else ""
    return "-" if found is None else mark + value(found)
