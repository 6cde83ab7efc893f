"""`tracelet report RUN...`: one run or a comparison as a single HTML file that needs no network."""

from __future__ import annotations

from pathlib import Path

import click

from tracelet.cli.options import store_option
from tracelet.cli.output import echo, writing
from tracelet.store.store import Store


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), default=Path("report.html"),
              show_default=True, help="The file to write.")  # fmt: skip
@click.option("--title", default="", help="Title of the report (default: the name of the run, or their number).")
@store_option
def report(store: Store, runs: tuple[str, ...], output: Path, title: str) -> None:
    """Write one HTML file about a run, or about several side by side.

    It has no scripts and refers to no other file, so it opens from a mail and without a network. RUN is a run id, a
    unique id prefix, a run name, or `latest`.
    """
    from tracelet.ui.report import Report

    found = {run.id: run for run in map(store.run, runs)}
    text = Report(list(found.values()), title).html()
    with writing(output):
        output.write_text(text, encoding="utf-8")
    echo(f"wrote {output} ({len(text.encode()) / 1e6:.1f} MB)")
