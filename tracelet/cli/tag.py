"""`tracelet tag RUN... -t NAME=VALUE`: sets and removes tags of runs, in their annotations."""

from __future__ import annotations

import click

from tracelet.capture.tags import DEFAULT_VALUE
from tracelet.cli.formatting import value
from tracelet.cli.options import store_option
from tracelet.cli.output import echo
from tracelet.store.annotation_changes import apply, tagged
from tracelet.store.store import Store


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--tag", "-t", "tags", metavar="NAME[=VALUE]", multiple=True, help="Set this tag (repeatable).")
@click.option("--remove", "removed", metavar="NAME", multiple=True, help="Remove this tag (repeatable).")
@store_option
def tag(store: Store, runs: tuple[str, ...], tags: tuple[str, ...], removed: tuple[str, ...]) -> None:
    """Set or remove tags of runs.

    RUN is a run id, a unique id prefix, a run name, or `latest`. A name that several runs share is refused.
    """
    if not tags and not removed:
        raise click.UsageError("Name a tag to set, or one to remove: tracelet tag RUN --tag good --remove bad")
    pairs = (text.partition("=") for text in tags)
    change = tagged({name: found or DEFAULT_VALUE for name, _, found in pairs} | dict.fromkeys(removed, ""))
    chosen = {run.id: run for run in (store.run(name, unique=True) for name in runs)}
    for run in chosen.values():
        apply(run.path, change)
        listed = ", ".join(f"{value(name)}={value(found)}" for name, found in sorted(run.tags.items()))
        echo(f"run {run.id}: {listed or 'no tags'}")
