"""`tracelet sweep ls`, `show` and `best`: what sweeps have found so far. They write nothing."""

from __future__ import annotations

import shlex
from typing import Any

import click

from tracelet.cli.formatting import ago, as_json, number, value
from tracelet.cli.options import store_option
from tracelet.cli.output import console, echo, print_block, table
from tracelet.errors import SweepError
from tracelet.store.store import Store
from tracelet.sweeps.progress import best_trial, described
from tracelet.sweeps.study import RUNNING, SweepStudy, Trial
from tracelet.sweeps.sweep_folder import Sweep, find_sweep, sweeps
from tracelet.sweeps.trial_command import fill_command

storage_option = click.option(
    "--storage", default="", metavar="URL", help="The database with its password, if it needs one."
)
json_option = click.option("--json", "as_text", is_flag=True, help="Print JSON.")


@click.command()
@json_option
@store_option
def ls(store: Store, as_text: bool) -> None:
    """List the sweeps, newest first."""
    rows = [(sweep, _trials(sweep)) for sweep in sweeps(store)]
    if as_text:
        echo(as_json([_summary(sweep, trials) for sweep, trials in rows]))
        return
    made = table("id", "name", "method", "trials", "best", "started", right=("trials", "best"))
    for sweep, trials in rows:
        found = _summary(sweep, trials)
        best = "" if found["best"] is None else number(found["best"]["metric"])
        ended = "?" if trials is None else f"{found['ended']}/{found['total']}"
        made.add_row(sweep.id, value(sweep.record.name), sweep.config.method, ended, best, ago(sweep.record.created))
    print_block(console(), made)


def _trials(sweep: Sweep) -> list[Trial] | None:
    """The trials; None if the database does not answer."""
    try:
        return sweep.study().trials()
    except SweepError:
        return None


def _summary(sweep: Sweep, trials: list[Trial] | None) -> dict[str, Any]:
    best = best_trial(trials or [], sweep.config.objective)
    return {
        "id": sweep.id, "name": sweep.record.name, "project": sweep.record.project, "method": sweep.config.method,
        "created": sweep.record.created, "total": None if trials is None else len(trials),
        "ended": None if trials is None else sum(trial.has_ended for trial in trials),
        "best": None if best is None else {"trial": best.number, "metric": best.metric, "params": best.values},
    }  # fmt: skip


@click.command()
@click.argument("name", default="latest")
@json_option
@storage_option
@store_option
def show(store: Store, name: str, as_text: bool, storage: str) -> None:
    """Show the trials of a sweep, best first, and how much each parameter matters."""
    sweep = find_sweep(store, name)
    study = sweep.study(storage)
    trials = study.trials()
    importances = study.importances()
    if as_text:
        found = _summary(sweep, trials)
        found["trials"] = [_described(sweep, trial) for trial in trials]
        found["importance"] = dict(importances)
        echo(as_json(found))
        return
    objective = sweep.config.objective
    echo(f"{sweep.record.name}  {sweep.id}  {sweep.config.method}  {sum(t.has_ended for t in trials)} of {len(trials)}")
    made = table("trial", objective.name if objective else "metric", "status", "run", "parameters", right=("trial",))
    for trial in sorted(trials, key=lambda one: _rank(sweep, one)):
        metric = "" if trial.metric is None else number(trial.metric)
        shown = "" if trial.status == "waiting" else sweep.run_id(trial)
        reason = f"{_status(trial)}: {trial.reason}" if trial.reason else _status(trial)
        made.add_row(str(trial.number), metric, value(reason), shown, value(described(trial.values)))
    print_block(console(), made)
    if importances:
        echo("importance: " + ", ".join(f"{name} {share:.0%}" for name, share in importances.items()))


def _rank(sweep: Sweep, trial: Trial) -> tuple[bool, float, int]:
    objective = sweep.config.objective
    if objective is None or trial.metric is None:
        return True, 0.0, trial.number
    return False, objective.cost(trial.metric), trial.number


def _status(trial: Trial) -> str:
    return "interrupted" if trial.status == RUNNING and trial.attributes.get("interrupted") else trial.status


def _described(sweep: Sweep, trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number, "status": _status(trial), "metric": trial.metric, "reason": trial.reason,
        "params": trial.values, "run": sweep.run_id(trial), "attempt": trial.attempt,
    }  # fmt: skip


@click.command()
@click.argument("name", default="latest")
@json_option
@storage_option
@store_option
def best(store: Store, name: str, as_text: bool, storage: str) -> None:
    """Print the best trial: its run, metric, parameters and command line."""
    sweep = find_sweep(store, name)
    study: SweepStudy = sweep.study(storage)
    found = best_trial(study.trials(), sweep.config.objective)
    if found is None:
        raise SweepError(f"no trial of {sweep.id} has a metric yet. Look at them: tracelet sweep show {sweep.id}")
    described_best = {**_described(sweep, found), "command": _command(sweep, found)}
    if as_text:
        echo(as_json(described_best))
        return
    assert sweep.config.objective is not None and found.metric is not None
    echo(f"trial {found.number}, run {described_best['run']}: {sweep.config.objective.name} {number(found.metric)}")
    for parameter, setting in found.values.items():
        echo(f"  {parameter} = {value(setting)}")
    if described_best["command"]:
        echo(described_best["command"])


def _command(sweep: Sweep, trial: Trial) -> str:
    if sweep.record.function:
        return ""
    nested = sweep.config.nested_values(trial.values)
    file = str(sweep.trial_file(trial.number, trial.attempt, "json"))
    return shlex.join(fill_command(sweep.config.command, sweep.config.program, trial.values, nested, file))
