"""`tracelet show RUN`: one page about one run."""

from __future__ import annotations

from typing import Any

import click

from tracelet.cli.formatting import as_json
from tracelet.cli.options import checked_metrics, store_option
from tracelet.cli.output import echo
from tracelet.store.console_lines import with_gaps
from tracelet.store.delivery_state import Delivery
from tracelet.store.fits import Fit
from tracelet.store.run import Run
from tracelet.store.store import Store


@click.command()
@click.argument("run")
@click.option("--fit", type=click.IntRange(min=1), metavar="N", help="Show only the Nth fit of the run, like RUN:N.")
@click.option("--metric", "metrics", metavar="NAME", multiple=True, help="Plot only this metric (repeatable).")
@click.option("--log", is_flag=True, help="Print only the console output of the program.")
@click.option("--all", "everything", is_flag=True, help="Show all parameters, events, packages and system metrics.")
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@store_option
def show(
    store: Store, run: str, fit: int | None, metrics: tuple[str, ...], log: bool, everything: bool, in_json: bool
) -> None:
    """Show one run: parameters, metrics, events, artifacts, deliveries, code, environment.

    RUN is a run id, a unique id prefix, a run name, or `latest`; RUN:2 is its second fit.
    """
    found, of = store.run_and_fit(run)
    of = found.fit(fit) if fit is not None else of
    if log:
        _print_log(found, in_json)
        return
    chosen = checked_metrics(metrics, of or found)
    if in_json:
        click.echo(as_json(run_as_json(found, chosen) if of is None else fit_as_json(of, chosen)))
        return
    from tracelet.cli.fit_page import FitPage
    from tracelet.cli.output import console
    from tracelet.cli.run_page import RunPage

    page = RunPage(found, console()) if of is None else FitPage(found, of, console())
    if chosen:
        page.plots(chosen)
    else:
        page.print_all(everything)


def _print_log(run: Run, in_json: bool) -> None:
    """The console output, each line prefixed with its rank if there are several; a gap shows the number of missing
    lines.
    """
    found = run.console()
    if in_json:
        click.echo(as_json([line._asdict() for line in found]))
        return
    several = len({line.rank for line in found}) > 1
    for line, missing in with_gaps(found):
        head = f"[{line.rank}] " if several else ""
        if missing:
            echo(f"{head}... {missing:,} lines omitted ...")
        echo(head + line.text)


def run_as_json(run: Run, metrics: list[str]) -> dict[str, Any]:
    """The run in the form of the JSON. Metrics with their summaries; use `tracelet export` for the points."""
    info, end = run.info, run.status_record
    return {
        "id": info.id, "name": info.name, "project": info.project, "status": info.status, "reason": info.reason,
        "traceback": end.traceback, "started": info.started, "ended": info.ended, "duration": info.duration,
        "host": info.host, "pid": info.pid, "world_size": info.world_size, "command": list(info.command),
        "folder": info.folder, "version": info.version, "resumed_from": info.resumed_from,
        "backends": list(info.backends), "params": run.params, "tags": run.tags,
        "metrics": {name: _summary(run, name) for name in metrics or run.metrics()},
        "fits": [fit_as_json(fit, []) for fit in run.fits if not fit.whole],
        "git": run.git, "environment": run.environment, "model": run.facts("model"),
        "artifacts": [_record(artifact) for artifact in run.artifacts],
        "events": [_record(event) for event in run.events()],
        "deliveries": {name: _delivery(found) for name, found in run.deliveries.items()},
        "problems": run.problems,
    }  # fmt: skip


def fit_as_json(fit: Fit, metrics: list[str]) -> dict[str, Any]:
    """One fit in the form of the JSON."""
    best = fit.best_checkpoint
    return {
        "run": fit.run.id, "number": fit.number, "name": fit.name, "status": fit.status, "reason": fit.reason,
        "started": fit.started, "ended": fit.ended, "duration": fit.duration, "params": fit.params,
        "metrics": {name: _summary(fit, name) for name in metrics or fit.metrics()}, "model": fit.model,
        "checkpoints": [_record(artifact) for artifact in fit.checkpoints],
        "best_checkpoint": None if best is None else best.path, "evaluations": fit.evaluations,
    }  # fmt: skip


def _summary(run: Run | Fit, name: str) -> dict[str, Any]:
    found = run.summary(name)
    return {
        "count": found.count, "last": found.last, "last_step": found.last_step, "last_time": found.last_time / 1e6,
        "min": found.min, "min_step": found.min_step, "max": found.max, "max_step": found.max_step,
        "automatic": found.automatic,
    }  # fmt: skip


def _delivery(found: Delivery) -> dict[str, Any]:
    fields = ("state", "url", "points", "rejected", "error", "fix", "since", "updated")
    return {name: getattr(found, name) for name in fields}


def _record(record: Any) -> dict[str, Any]:
    """A record's fields, with its time in seconds as everywhere in JSON."""
    return {name: getattr(record, name) for name in record.__struct_fields__} | {"time": record.time / 1e6}
