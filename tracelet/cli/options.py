"""Options and checks that several commands share: the store to read, and metrics selected by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from tracelet.cli import CommandError
from tracelet.cli.formatting import visible
from tracelet.store.fits import Fit
from tracelet.store.run import Run
from tracelet.store.store import Store

Command = TypeVar("Command", bound=Callable[..., Any])


def store_option(command: Command) -> Command:
    """`--dir FOLDER`, passed to the command as `store`."""
    option = click.option(
        "--dir", "store", metavar="FOLDER", callback=_opened, expose_value=True,
        help="Folder of the store (default: TRACELET_DIR, otherwise .tracelet in the working directory).",
    )  # fmt: skip
    return option(command)


def _opened(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Store:
    return Store.open(value)


def dir_hint(ctx: click.Context) -> str:
    """The option to add to a suggested command, so that it reads the same store as this one."""
    while ctx.parent is not None and "store" not in ctx.params:
        ctx = ctx.parent
    store = ctx.params.get("store")
    given = ctx.get_parameter_source("store")
    if not isinstance(store, Store) or given is not click.core.ParameterSource.COMMANDLINE:
        return ""
    return f" --dir {store.root}"


def known_metrics(runs: Iterable[Run | Fit]) -> list[str]:
    """The metrics that any of the runs has: those that the program logged, then those recorded automatically."""
    automatic: dict[str, bool] = {}
    for run in runs:
        for name, summary in run.summaries().items():
            automatic[name] = automatic.get(name, True) and summary.automatic
    return sorted(automatic, key=lambda name: (automatic[name], name))


def checked_metrics(asked: Sequence[str], of: Run | Fit) -> list[str]:
    """The requested metrics, if the run or fit has all of them; otherwise an error that suggests the nearest."""
    if not set(asked).issubset(of.metrics()):
        what = f"run {of.id}" if isinstance(of, Run) else f"fit {of.number} of run {of.run.id}"
        check_known(asked, known_metrics([of]), f"{what} has no metric")
    return list(asked)


def check_known(asked: Iterable[str], known: Sequence[str], lacking: str) -> None:
    """An error, `lacking` and the name, with the nearest or the first known names, unless all are known."""
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            hint = "Did you mean: " + ", ".join(near) if near else "Available: " + (", ".join(known[:20]) or "none")
            raise CommandError(visible(f"{lacking} {name!r}. {hint}."))
