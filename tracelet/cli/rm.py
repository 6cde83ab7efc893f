"""`tracelet rm RUN...`: deletes runs after a confirmation. Deletes folders of the store and nothing else."""

from __future__ import annotations

import shutil

import click

from tracelet.agent.process.locks import holder, lock_path
from tracelet.cli.formatting import ago, value
from tracelet.cli.options import store_option
from tracelet.cli.output import echo
from tracelet.errors import RunNotFound, StoreError
from tracelet.journal.records import RUNNING
from tracelet.journal.run_folder import RUNS
from tracelet.store.delivery_state import DONE, MISCONFIGURED
from tracelet.store.run import Run
from tracelet.store.store import Store


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--yes", "-y", is_flag=True, help="Skip the confirmation prompt.")
@click.option("--force", is_flag=True, help="Delete even runs that are running or being delivered.")
@store_option
def rm(store: Store, runs: tuple[str, ...], yes: bool, force: bool) -> None:
    """Delete runs and all their files.

    RUN is a run id, a unique id prefix, a run name, or `latest`. A name that several runs share is refused: give the
    id instead.
    """
    chosen = {run.id: run for run in (store.run(name, unique=True) for name in runs)}
    for run in chosen.values():
        _check(store, run, force)
    for run in chosen.values():
        info = run.info
        echo("  ".join(map(value, (info.id, info.name, info.project, info.status, ago(info.started)))))
    if not yes:
        question = "Delete this run?" if len(chosen) == 1 else f"Delete these {len(chosen)} runs?"
        click.confirm(question, abort=True)
    for run in chosen.values():
        _delete(run)
        click.echo(f"deleted {run.id}")


def _check(store: Store, run: Run, force: bool) -> None:
    if run.info.status == RUNNING and not force:
        raise StoreError(f"run {run.id} is still running; nothing was deleted. To delete it anyway: --force")
    owed = sorted(name for name, delivery in run.deliveries.items() if delivery.state not in (DONE, MISCONFIGURED))
    agent = holder(lock_path(run.path)) if owed else 0
    if agent and not force:
        raise StoreError(
            f"run {run.id} is being delivered to {', '.join(owed)} by process {agent}; nothing was deleted. "
            "To delete it anyway: --force"
        )
    # rmtree does not follow links inside; the folder itself, and the path to it from the store, must not be links
    # either.
    if run.path.is_symlink() or run.path.resolve().parent != (store.root / RUNS).resolve():
        raise StoreError(f"{run.path} is a symbolic link; nothing was deleted. To remove the link: unlink {run.path}")


def _delete(run: Run) -> None:
    try:
        shutil.rmtree(run.path)
    except FileNotFoundError as error:
        raise RunNotFound(f"run {run.id} was already deleted by another process") from error
    except OSError as error:
        raise StoreError(
            f"run {run.id} was deleted only in part ({error.strerror or error}: {error.filename}). "
            "Make the folder writable and run the same command again."
        ) from error
