"""The console for all commands: a rich console that works in pipes, in narrow terminals and without colors.

Text from runs is never interpreted as markup or by the terminal; a `rich.Text` is created from `value(text)`. Without a
terminal it uses no colors and does not truncate lines, so that `grep` finds whole lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from tracelet.cli.formatting import value, visible
from tracelet.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

ColumnName = TypeVar("ColumnName")

UNLIMITED = 100_000
"""The width without a terminal: wider than any line."""
MIN_NAME_LENGTH = 12
"""Minimum characters shown of a name: its beginning and its end."""
STATUS_STYLES = {
    "running": "cyan", "finished": "green", "failed": "bold red", "interrupted": "yellow", "preempted": "yellow",
    "pruned": "yellow", "killed": "red", "unreadable": "red",
}  # fmt: skip


def console(stderr: bool = False) -> Console:
    """A console on the current stream, which makes control characters in every `str` visible."""
    from rich.console import Console

    class Careful(Console):
        def render_str(self, text: str, **options: Any) -> Text:  # every str comes here, also those in tables
            return super().render_str(visible(text), **options)

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else UNLIMITED
    return Careful(file=stream, width=width, highlight=False, markup=False, emoji=False)


def echo(text: str, err: bool = False) -> None:
    """Print a line without rich, its control characters visible."""
    click.echo(visible(text), err=err)


@contextmanager
def opened(output: Path | None) -> Iterator[IO[str]]:
    """The file, or standard output without one, for text. StoreError if it cannot be written."""
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    with writing(output), output.open("w", encoding="utf-8", newline="") as stream:
        yield stream


@contextmanager
def writing(output: Path | None) -> Iterator[None]:
    """Turns an error of the system into a StoreError that names the file, or standard output without one."""
    try:
        yield
    except OSError as error:
        name = output or "standard output"
        raise StoreError(f"{name} cannot be written ({error.strerror or error}). Try another: -o FILE") from error


def supports_unicode(target: Console) -> bool:
    """Whether the terminal can show block characters."""
    return (target.encoding or "").lower().replace("-", "").startswith("utf")


def print_block(target: Console, renderable: RenderableType, style: str | None = None) -> None:
    """Print; without a terminal, omit the spaces that pad a table to its width."""
    if target.is_terminal:
        target.print(renderable, style=style)
        return
    with target.capture() as captured:
        target.print(renderable, style=style)
    target.file.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def shorten(target: Console, name: str, share: int) -> str:
    """A name on one line; in a terminal at most a `share`-th of its width, with dots replacing the middle."""
    text, most = value(name), max(MIN_NAME_LENGTH, target.width // share)
    return text if len(text) <= most else f"{text[: (most - 2) // 2]}...{text[len(text) - (most - 3) // 2 :]}"


def fit_to_width(
    target: Console,
    build: Callable[[list[ColumnName]], Table],
    columns: Sequence[ColumnName],
    droppable: Sequence[ColumnName],
) -> Table:
    """The table without as many droppable columns as a narrow terminal has no room for."""
    kept = list(columns)
    if target.width >= UNLIMITED:
        return build(kept)
    unlimited = target.options.update(width=UNLIMITED)
    made = build(kept)
    for column in droppable:
        if target.measure(made, options=unlimited).maximum <= target.width:
            break
        kept.remove(column)
        made = build(kept)
    return made


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A plain table without lines between the cells; `right` are the numeric columns."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right
        )
    return made
