"""`tracelet rename RUN NAME`: another name for a run, in its annotations."""

from __future__ import annotations

import click

from tracelet.cli.options import store_option
from tracelet.cli.output import echo
from tracelet.store.annotation_changes import apply, renamed
from tracelet.store.store import Store


@click.command()
@click.argument("run")
@click.argument("name")
@store_option
def rename(store: Store, run: str, name: str) -> None:
    """Give a run another name. An empty one restores the original name.

    RUN is a run id, a unique id prefix, a run name, or `latest`. A name that several runs share is refused.
    """
    found = store.run(run, unique=True)
    apply(found.path, renamed(name))
    echo(f"run {found.id} is named {found.info.name}")
