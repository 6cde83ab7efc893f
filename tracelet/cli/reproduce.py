"""`tracelet reproduce RUN`: runs a recorded program again, from its commit, and compares what it logs."""

from __future__ import annotations

import shlex
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import click

from tracelet.cli.formatting import counted
from tracelet.cli.options import store_option
from tracelet.cli.output import echo
from tracelet.cli.reproduction import ORIGIN_TAG, Reproduction
from tracelet.errors import RunNotFound
from tracelet.store.run import Run
from tracelet.store.series_comparison import CLOSE, IDENTICAL, SeriesVerdict, compare_runs
from tracelet.store.store import Store

MAX_DIFFERENCES = 20
"""Packages that are listed; an unrelated environment differs in hundreds."""


@click.command()
@click.argument("run")
@click.option("--into", type=click.Path(path_type=Path), help="Folder for the code (default: STORE/reproduce/RUN).")
@click.option("--venv", "build", is_flag=True, help="Build a virtual environment of the recorded versions first.")
@click.option("--tolerance", type=float, default=1e-6, show_default=True, help="Relative difference that is accepted.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@store_option
def reproduce(store: Store, run: str, into: Path | None, build: bool, tolerance: float, dry_run: bool) -> None:
    """Run a recorded program again: its commit with the recorded changes, the same command, as a new run.

    Prints first what cannot be had again and how the environment differs, and at the end whether the metrics are
    identical, within the tolerance, or from which step they differ. Exit code 1 if they differ.

    RUN is a run id, a unique id prefix, a run name, or `latest`.
    """
    found = store.run(run)
    plan = Reproduction(found)
    folder = (into or store.root / "reproduce" / found.id).absolute()
    code = folder / "code" if plan.has_commit() else None
    python = str(folder / "venv" / "bin" / "python") if build else sys.executable
    command = plan.command(python, store.root, code)
    _print_plan(plan, folder, code, command)
    if dry_run:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirements.txt").write_text(plan.requirements(), encoding="utf-8")
    if code is not None and not code.exists():
        plan.checkout(code)
    if build:
        venv.create(folder / "venv", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-r", str(folder / "requirements.txt")], check=True)
    result = subprocess.run(command, cwd=plan.folder(code), check=False)
    again = _newest(store, found)
    echo(f"\nreproduced as {again.id} (exit code {result.returncode})")
    if not _print_verdicts(list(compare_runs(found, again, tolerance))):
        raise click.exceptions.Exit(1)


def _print_plan(plan: Reproduction, folder: Path, code: Path | None, command: Sequence[str]) -> None:
    for sentence in plan.lost():
        echo(f"cannot be had again: {sentence}")
    differences = plan.differences()
    for sentence in differences[:MAX_DIFFERENCES]:
        echo(f"differs: {sentence}")
    if len(differences) > MAX_DIFFERENCES:
        echo(f"... {len(differences) - MAX_DIFFERENCES} more packages differ; see {folder / 'requirements.txt'}")
    echo(f"code     {plan.commit[:10] + ' in ' + str(code) if code else 'as it is now'}")
    echo(f"folder   {plan.folder(code)}")
    echo(f"command  {shlex.join(command)}")


def _newest(store: Store, origin: Run) -> Run:
    for run in store.runs():
        if run.tags.get(ORIGIN_TAG) == origin.id:
            return run
    raise RunNotFound(f"the program recorded no run in {store.root}; its output above says why")


def _print_verdicts(verdicts: Sequence[SeriesVerdict]) -> bool:
    """Print what became of each metric; whether all are the same."""
    for one in verdicts:
        where = "" if one.step is None else f" from step {one.step} on"
        echo(f"  {one.metric}: {one.verdict}{where}")
    good = all(one.verdict in (IDENTICAL, CLOSE) for one in verdicts)
    all_same = all(one.verdict == IDENTICAL for one in verdicts)
    echo(f"{counted(len(verdicts), 'metric')}: {IDENTICAL if all_same else CLOSE if good else 'different'}")
    return good
