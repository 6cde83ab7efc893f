"""`tracelet verify RUN`: whether each backend has every point of the run, once and with its value."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any

import click

from tracelet import registry, settings
from tracelet.agent.delivery.backend_loading import options_of
from tracelet.agent.delivery.comparison import Comparison, SeriesDifference, compare, expected_points
from tracelet.agent.delivery.courier_state import CourierState
from tracelet.agent.delivery.run_description import describe_run
from tracelet.cli.formatting import as_json, counted
from tracelet.cli.options import store_option
from tracelet.cli.output import echo
from tracelet.cli.pending_deliveries import PendingDelivery, is_own, pending_deliveries
from tracelet.cli.sync import in_folder
from tracelet.errors import BackendError, Misconfigured
from tracelet.redaction.redactor import Redactor
from tracelet.store.run import Run
from tracelet.store.store import Store

SHOWN_METRICS, SHOWN_STEPS = 20, 10
"""Metrics that differ and are listed, and steps of each."""
KINDS = "missing", "doubled", "different"
DIFFERENT, UNREADABLE = 1, 2
"""Exit codes."""


@click.command()
@click.argument("run")
@click.option("--backend", metavar="NAME[,NAME]", help="Verify these backends (default: all that the run names).")
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@store_option
def verify(store: Store, run: str, backend: str | None, in_json: bool) -> None:
    """Compare what the backends have of a run with the store, point by point.

    Reads MLflow, TensorBoard, Aim, JSON lines, and the offline files of W&B and ClearML. Prints the points that are
    missing, doubled or different. Exit code 0: none; 1: some; 2: a backend cannot be read.

    RUN is a run id, a unique id prefix, a run name, or `latest`.
    """
    found = store.run(run)
    asked = [name.strip() for name in (backend or "").split(",") if name.strip()]
    deliveries = list(pending_deliveries(found, settings.load(), asked))
    if not deliveries:
        raise click.UsageError(f"run {found.id} has no backend. Name one: tracelet verify {found.id} --backend mlflow")
    code, results = 0, []
    for pending in deliveries:
        try:
            result = _compared(found, pending)
        except BackendError as error:
            echo(f"{found.id} {pending.config.name}: not verified. {error}", err=True)
            code = UNREADABLE
            continue
        code = max(code, 0 if result.equal else DIFFERENT)
        results.append((pending.config.name, result))
    _show(found, results, in_json)
    raise SystemExit(code)


def _compared(run: Run, pending: PendingDelivery) -> Comparison:
    name, config = pending.config.name, pending.config
    if pending.doubt or pending.without_credentials:
        why = pending.doubt or "its address is only in the record of a run that is not yours"
        raise Misconfigured(why, "Name the destination in your own settings")
    if name not in registry.READERS:
        raise Misconfigured(f"what {name} has cannot be read back", "Verify another backend: --backend NAME")
    options = options_of(name, registry.load(config.reference).options, config.options)
    state = CourierState(run.path, name, Redactor(config.options), _ignore)
    with in_folder(run.info.folder if is_own(run) else ""), redirect_stdout(sys.stderr):  # SDKs print what they like
        remote = registry.load(registry.READERS[name])(options, describe_run(run.path, state))
    return compare(expected_points(run.path, remote), remote)


def _ignore(sentence: str) -> None:
    """Nothing is delivered here, so there is nothing to log."""


def _show(run: Run, results: list[tuple[str, Comparison]], in_json: bool) -> None:
    if in_json:
        echo(as_json({"run": run.id, "backends": {name: _built_in(result) for name, result in results}}))
        return
    for name, result in results:
        totals = ", ".join(f"{result.total(kind):,} {kind}" for kind in KINDS)
        echo(f"{run.id} {name}: {counted(result.points, 'point')} in the store, {result.there:,} there; {totals}")
        for one in result.differences[:SHOWN_METRICS]:
            echo(f"  {_line(one)}")
        if len(result.differences) > SHOWN_METRICS:
            echo(f"  ... {len(result.differences) - SHOWN_METRICS} more metrics")
        if result.total("missing"):
            echo(f"  To send what is missing, type: tracelet sync {run.id} --repair --backend {name}")


def _line(one: SeriesDifference) -> str:
    counts = ", ".join(f"{getattr(one, kind):,} {kind}" for kind in KINDS if getattr(one, kind))
    shown = ", ".join(map(str, one.steps[:SHOWN_STEPS])) + (", ..." if len(one.steps) > SHOWN_STEPS else "")
    return f"{one.name}: {counts} (steps {shown})"


def _built_in(result: Comparison) -> dict[str, Any]:
    totals = {kind: result.total(kind) for kind in KINDS}
    return {
        "points": result.points, "there": result.there, **totals,
        "metrics": {one.name: {kind: getattr(one, kind) for kind in totals} for one in result.differences},
    }  # fmt: skip
