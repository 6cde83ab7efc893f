"""What several commands have in common: the store they read, and asking for metrics by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from tracelet.cli.wording import visible
from tracelet.store import Store

Command = TypeVar("Command", bound=Callable[..., Any])


def store_option(command: Command) -> Command:
    """`--dir FOLDER`, given to the command as `store`."""
    option = click.option(
        "--dir", "store", metavar="FOLDER", callback=_opened, expose_value=True,
        help="Folder of the store (default: TRACELET_DIR, else .tracelet here).",
    )  # fmt: skip
    return option(command)


def _opened(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Store:
    return Store.open(value)


def dir_hint(ctx: click.Context) -> str:
    """What to add to a command that we suggest, so that it reads the store that this one reads."""
    while ctx.parent is not None and "store" not in ctx.params:
        ctx = ctx.parent
    store = ctx.params.get("store")
    given = ctx.get_parameter_source("store")
    if not isinstance(store, Store) or given is not click.core.ParameterSource.COMMANDLINE:
        return ""
    return f" --dir {store.root}"


def checked_metrics(asked: Sequence[str], known: Iterable[str], where: str) -> list[str]:
    """The metrics asked for, if all of them are there; otherwise a usage error that names the nearest."""
    names = list(known)
    for name in asked:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
            hint = "Near: " + ", ".join(near) if near else "Known: " + (", ".join(names[:20]) or "none")
            raise click.UsageError(visible(f"{where} has no metric {name!r}. {hint}."))
    return list(asked)
