"""`tracelet top RUN`: a live view of a run in the terminal. Only reads the store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from tracelet.cli.event_text import notable, run_events
from tracelet.cli.formatting import ago, duration, number, value, visible
from tracelet.cli.options import checked_metrics, store_option
from tracelet.cli.output import STATUS_STYLES, console, print_block, shorten, supports_unicode, table
from tracelet.cli.sparkline import sparkline
from tracelet.journal.records import RUNNING, MetricSummary
from tracelet.store.run import Run
from tracelet.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

INTERVAL = 1.0
"""Seconds between two checks."""
WIDTH = 40
"""Characters of a plot."""
NAME_SHARE = 3
"""The name of a metric takes at most one third of the terminal's width."""
MAX_EVENTS = 8
"""Events shown."""


@click.command()
@click.argument("run", default="latest")
@click.option("--metric", "metrics", metavar="NAME", multiple=True, help="Show only this metric (repeatable).")
@click.option("--all", "everything", is_flag=True, help="Include metrics that tracelet recorded automatically.")
@click.option("--once", is_flag=True, help="Print the view once and exit.")
@store_option
def top(store: Store, run: str, metrics: tuple[str, ...], everything: bool, once: bool) -> None:
    """Watch a run live in the terminal: status, metrics with plots, events.

    RUN is a run id, a unique id prefix, a run name, or `latest` (the default).
    """
    found = store.run(run)
    chosen = checked_metrics(metrics, found)
    target = console()
    if once or not target.is_terminal:
        print_block(target, render(target, found, chosen, everything))
        return
    from rich.live import Live

    try:
        with Live(render(target, found, chosen, everything), console=target, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(INTERVAL)
                found.refresh()
                live.update(render(target, found, chosen, everything), refresh=True)
    except KeyboardInterrupt:
        pass  # the usual way to stop it


def render(target: Console, run: Run, chosen: list[str], everything: bool) -> RenderableType:
    """The current screen."""
    from rich.console import Group
    from rich.text import Text

    info = run.info
    head = Text.assemble(
        (value(info.name), "bold"), "  ", (value(info.status), STATUS_STYLES.get(info.status, "")), "  ",
        value(info.project),
        f"  started {ago(info.started)}  {duration(info.duration)}  {info.id}",
    )  # fmt: skip
    why = [Text(visible(info.reason), "red")] if info.reason else []
    events = [
        Text(f"+{duration(max(0.0, event.time / 1e6 - info.started)):>8}  {prefix}{value(event.name)}")
        for event, prefix in notable(run_events(run))[-MAX_EVENTS:]
    ]
    rest = max(3, target.height - len(events) - 8)
    foot = [Text("Ctrl-C exits this view; the run continues", "dim")] if info.status == RUNNING else []
    return Group(head, *why, Text(), _metrics(target, run, chosen, everything, rest), Text(), *events, Text(), *foot)


def _metrics(target: Console, run: Run, chosen: list[str], everything: bool, rows: int) -> RenderableType:
    shown = table("metric", "last", "min", "max", "points", "plot", right=("last", "min", "max", "points"))
    summaries = run.summaries()
    names = (
        chosen or [name for name, found in summaries.items() if everything or not found.automatic] or sorted(summaries)
    )
    for name in names[:rows]:
        shown.add_row(shorten(target, name, NAME_SHARE), *_row(run, name, run.summary(name), supports_unicode(target)))
    return shown


def _row(run: Run, name: str, found: MetricSummary, unicode: bool) -> tuple[str, ...]:
    numbers = (number(found.last), number(found.min), number(found.max), str(found.count))
    return (*numbers, sparkline(run.chart(name).values, WIDTH, unicode))
