"""`tracelet archive RUN...`: leaves runs out of lists without deleting anything."""

from __future__ import annotations

import click

from tracelet.cli.options import store_option
from tracelet.cli.output import echo
from tracelet.store.annotation_changes import apply, archived
from tracelet.store.store import Store


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--undo", is_flag=True, help="List the runs again.")
@store_option
def archive(store: Store, runs: tuple[str, ...], undo: bool) -> None:
    """Leave runs out of `tracelet ls` and of the dashboard's list. Nothing is deleted.

    RUN is a run id, a unique id prefix, a run name, or `latest`. A name that several runs share is refused.
    """
    chosen = {run.id: run for run in (store.run(name, unique=True) for name in runs)}
    for run in chosen.values():
        apply(run.path, archived(not undo))
        echo(f"{'listed' if undo else 'archived'} {run.id}")
