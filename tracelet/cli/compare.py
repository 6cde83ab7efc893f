"""`tracelet compare A B ...`: differences between runs: parameters, code, packages, metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Union

import click

from tracelet.cli.formatting import as_json, date, duration, number, value
from tracelet.cli.options import check_known, known_metrics, store_option
from tracelet.cli.output import console, echo, print_block, shorten, table
from tracelet.store.code_diff import CodeDifference, changes_unknown, code_difference
from tracelet.store.fits import Fit
from tracelet.store.run import Run
from tracelet.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

DIFF_LINES = 40
"""Lines of the code diff shown; `--diff` and the JSON have all of them."""

NAME_SHARE = 3
"""A name takes at most one third of the terminal's width."""

Difference = dict[str, list[Any]]
"""Name to one value per run, None for a run without one."""


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--metric", "metrics", metavar="NAME", multiple=True, help="Compare only this metric (repeatable).")
@click.option(
    "--all", "everything", is_flag=True,
    help="Include metrics that tracelet recorded automatically (machine, learning rate).",
)  # fmt: skip
@click.option("--diff", "whole", is_flag=True, help="Print only the code diff, in full, as a patch.")
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@store_option
def compare(
    store: Store, runs: tuple[str, ...], metrics: tuple[str, ...], everything: bool, whole: bool, in_json: bool
) -> None:
    """Compare two or more runs: parameters, tags, code, environment, packages, metrics.

    RUN is a run id, a unique id prefix, a run name, or `latest`; RUN:2 is its second fit.
    """
    if len(runs) < 2:
        raise click.UsageError("Name at least two runs. List them: tracelet ls")
    named = [store.run_and_fit(name) for name in runs]
    found, fits = [run for run, _ in named], [fit or run for run, fit in named]
    if whole and not in_json:
        _print_patch(code_difference(found[0].git, found[-1].git))
        return
    compared = compared_runs(found, metrics, everything, fits)
    if in_json:
        click.echo(as_json(compared))
    else:
        _print(console(), compared, _tables(found, fits))


def compared_runs(
    runs: list[Run], metrics: tuple[str, ...] = (), everything: bool = False, fits: Sequence[Run | Fit] = ()
) -> dict[str, Any]:
    """All differences, in the form of the JSON. `fits`: what is compared of each run, the whole by default."""
    parts = list(fits) or list[Union[Run, Fit]](runs)
    return {
        "runs": [
            _head(run, part) for run, part in zip(runs, parts)
        ],
        **{name: differing(tables) for name, tables in _tables(runs, parts).items()},
        "diff": asdict(code_difference(runs[0].git, runs[-1].git)),
        "metrics": _metrics(parts, metrics, everything),
    }  # fmt: skip


def _head(run: Run, part: Run | Fit) -> dict[str, Any]:
    info, of_fit = run.info, part if isinstance(part, Fit) else None
    return {
        "id": of_fit.name if of_fit else info.id,
        "name": f"{info.name}:{of_fit.number}" if of_fit and not of_fit.whole else info.name, "project": info.project,
        "status": of_fit.status if of_fit else info.status, "started": of_fit.started if of_fit else info.started,
        "duration": of_fit.duration if of_fit else info.duration,
    }  # fmt: skip


def _tables(runs: list[Run], parts: Sequence[Run | Fit]) -> dict[str, list[Mapping[str, Any]]]:
    """The data compared name by name: for each section one table per run."""
    return {
        "params": [part.params for part in parts],
        "tags": [run.tags for run in runs],
        "code": [_code(run) for run in runs],
        "environment": [_environment(run) for run in runs],
        "packages": [run.environment.get("packages") or {} for run in runs],
    }


def differing(tables: Sequence[Mapping[str, Any]]) -> Difference:
    """The names whose values are not the same in all tables; NaN equals NaN."""
    found: Difference = {}
    for name in sorted({name for one in tables for name in one}):
        values = [one.get(name) for one in tables]
        if any(name not in one for one in tables) or len({_identity(item) for item in values}) > 1:
            found[name] = values
    return found


def _identity(item: Any) -> str:
    return as_json(item, indent=None)


def _code(run: Run) -> dict[str, Any]:
    git = run.git
    known = {name: git[name] for name in ("commit", "branch", "dirty") if git.get(name) is not None}
    return {**known, "dirty": "unknown"} if changes_unknown(git) else known


def _any_commit(codes: Sequence[Mapping[str, Any]]) -> bool:
    return any("commit" in code for code in codes)


def _environment(run: Run) -> dict[str, Any]:
    environment = run.environment
    python, platform = environment.get("python") or {}, environment.get("platform") or {}
    found = {"python": python.get("version"), "host": run.info.host, "platform": platform.get("release")}
    found["cpu"] = (environment.get("machine") or {}).get("cpu_model")
    found["cuda"] = (environment.get("torch") or {}).get("cuda")
    found["command"] = " ".join(run.info.command)
    return {name: what for name, what in found.items() if what is not None}


def _metrics(
    runs: Sequence[Run | Fit], asked: tuple[str, ...], everything: bool
) -> dict[str, dict[str, list[float | None]]]:
    summaries = [run.summaries() for run in runs]
    known = sorted({name for one in summaries for name in one})
    if not set(asked).issubset(known):
        check_known(asked, known_metrics(runs), "none of the runs has a metric")
    automatic = {name for one in summaries for name, summary in one.items() if summary.automatic}
    chosen = list(asked) or [name for name in known if everything or name not in automatic]
    found = {name: [run.summary(name) if name in one else None for run, one in zip(runs, summaries)] for name in chosen}
    return {
        name: {
            label: [getattr(summary, label) if summary else None for summary in found[name]]
            for label in ("last", "min", "max", "count")
        }
        for name in chosen
    }


def _print(target: Console, compared: dict[str, Any], tables: dict[str, list[Mapping[str, Any]]]) -> None:
    runs = compared["runs"]
    heads = _heads(runs)
    shown = table("", *heads)
    for label, render in (
        ("id", value),
        ("project", value),
        ("status", value),
        ("started", date),
        ("duration", duration),
    ):
        shown.add_row(label, *(render(run[label]) for run in runs))
    print_block(target, shown)
    identical: list[str] = []
    for title, key in (("Parameters", "params"), ("Tags", "tags"), ("Code", "code"), ("Environment", "environment"),
                       ("Packages", "packages")):  # fmt: skip
        if compared[key]:
            _section(target, title, heads, list(compared[key]), tables[key])
        elif (key == "packages" and not any(tables[key])) or (key == "code" and not _any_commit(tables[key])):
            identical.append(f"{title.lower()} (not recorded)")
        elif key != "code" or not compared["diff"]["text"]:
            identical.append(title.lower())
    if identical:
        target.print(f"\nNo differences: {', '.join(identical)}")
    _print_diff(target, compared["diff"])
    _print_metrics(target, heads, compared["metrics"])


def _heads(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the runs; with the beginning of the id where several have the same."""
    names = [value(run["name"]) for run in runs]
    return [f"{name} ({run['id'][:5]})" if names.count(name) > 1 else name for name, run in zip(names, runs)]


def _section(
    target: Console, title: str, heads: list[str], names: list[str], tables: Sequence[Mapping[str, Any]]
) -> None:
    target.print()
    shown = table(title, *heads)
    for name in names:
        cells = (value(one[name]) if name in one else "-" for one in tables)
        shown.add_row(shorten(target, name, NAME_SHARE), *cells)
    print_block(target, shown)


def _print_diff(target: Console, found: dict[str, Any]) -> None:
    lines = found["text"].splitlines()
    if lines:
        target.print("\nCode diff, first run to last", style="bold")
        target.print("  " + found["description"], style="dim")
        for line in lines[:DIFF_LINES]:
            target.print("  " + line, style=_line_style(line))
        if len(lines) > DIFF_LINES:
            target.print(f"  ... {len(lines) - DIFF_LINES} more lines; --diff shows them all", style="dim")


def _line_style(line: str) -> str | None:
    return "green" if line.startswith("+") else "red" if line.startswith("-") else None


def _print_patch(found: CodeDifference) -> None:
    """The patch on standard output; the description on standard error, so that the patch can be redirected."""
    echo(found.description + (" The diff is truncated because it is too long." if found.truncated else ""), err=True)
    if found.text:
        echo(found.text.rstrip("\n"))


def _print_metrics(target: Console, heads: list[str], metrics: dict[str, dict[str, list[float | None]]]) -> None:
    if not metrics:
        return
    target.print()
    shown = table("Metrics", "", *heads, right=tuple(heads))
    for name, found in metrics.items():
        for label in ("last", "min", "max"):
            cells = ("-" if item is None else number(item) for item in found[label])
            shown.add_row(shorten(target, name, NAME_SHARE) if label == "last" else "", label, *cells)
    print_block(target, shown)
