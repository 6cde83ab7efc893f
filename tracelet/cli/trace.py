"""`tracelet trace RUN`: the spans of a run as a timeline for Perfetto, or as nv-one-logger's JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import click

from tracelet.cli.options import check_known, store_option
from tracelet.cli.output import opened
from tracelet.store.store import Store


@click.command()
@click.argument("run")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file (default: standard output).",
)  # fmt: skip
@click.option(
    "--format", "-f", "format", type=click.Choice(("perfetto", "onelogger")), default="perfetto", show_default=True,
    help="A timeline for ui.perfetto.dev and chrome://tracing, or JSON Lines in the format of nv-one-logger.",
)  # fmt: skip
@click.option(
    "--spans", metavar="NAMES",
    help="Comma-separated names of the spans to export (default: the setting `spans`, which is all).",
)  # fmt: skip
@click.option(
    "--deny", metavar="NAMES",
    help="Comma-separated names of spans to drop; their children move up (default: the setting `spans_deny`).",
)  # fmt: skip
@store_option
def trace(store: Store, run: str, output: Path | None, format: str, spans: str | None, deny: str | None) -> None:
    """Export the spans of a run, of all its processes, as a timeline.

    The timeline also contains the machine metrics (CPU, memory, GPU, ...). Open it in https://ui.perfetto.dev, which
    uploads nothing, or in chrome://tracing.

    RUN is a run id, a unique id prefix, a run name, or `latest`.
    """
    from tracelet import settings
    from tracelet.telemetry.reading import onelogger_export, perfetto_export
    from tracelet.telemetry.reading.span_selection import Selection

    settled = settings.load()
    chosen = Selection.parse(settled.spans if spans is None else spans, settled.spans_deny if deny is None else deny)
    found = store.run(run)
    if spans is not None:
        check_known(sorted(chosen.allowed), sorted(set(found.spans().names)), f"run {found.id} has no span")
    with opened(output) as stream:
        if format == "onelogger":
            _write_lines(onelogger_export.lines(found, chosen), stream)
        else:
            _write_timeline(perfetto_export.trace_events(found, chosen), stream)
    if output is not None and format == "perfetto":
        click.echo(f"wrote {output}; open it in https://ui.perfetto.dev", err=True)


def _write_lines(records: Iterable[dict[str, Any]], stream: IO[str]) -> None:
    for record in records:
        stream.write(_json(record) + "\n")


def _write_timeline(events: Iterable[dict[str, Any]], stream: IO[str]) -> None:
    stream.write('{"displayTimeUnit":"ms","traceEvents":[')
    for number, event in enumerate(events):
        stream.write(("," if number else "") + "\n" + _json(event))
    stream.write("\n]}\n")


def _json(record: dict[str, Any]) -> str:
    try:
        return json.dumps(record, separators=(",", ":"), allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_finite(record), separators=(",", ":"), default=str)


def _finite(value: Any) -> Any:
    """The same, with strings for values that JSON cannot store: a NaN would make the whole file unreadable."""
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
