"""`tracelet time RUN`: breakdown of a run's wall time, and findings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tracelet.cli.formatting import as_json, counted, duration
from tracelet.cli.options import store_option
from tracelet.cli.output import console, print_block, supports_unicode, table
from tracelet.cli.time_comparison import Percentage, compare_runs
from tracelet.errors import RunNotFound
from tracelet.journal.records import RUNNING
from tracelet.store.process_status import statuses_by_number
from tracelet.store.run import Run
from tracelet.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

    from tracelet.telemetry.reading.findings import Finding
    from tracelet.telemetry.reading.goodput import RunTime
    from tracelet.telemetry.reading.process_times import ProcessTimes

BAR = 30
"""Characters of the longest bar."""
MAX_TABLES = 2
"""Processes with a table each; more of them share one with the extremes."""
NO_ITERATIONS = (
    "No training iterations were recorded. Lightning's are recorded automatically; in your own training loop, use "
    "tracelet.telemetry.training_loop() and training_iteration()."
)


@click.command()
@click.argument("run")
@click.argument("other", required=False)
@click.option("--rank", type=click.IntRange(0), help="Show only this rank (default: all ranks).")
@click.option(
    "--max-regression",
    metavar="SHARE",
    type=Percentage(),
    help="With OTHER: exit with code 1 if its iterations are significantly slower by more than this, e.g. 5%.",
)
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@store_option
def time(
    store: Store, run: str, other: str | None, rank: int | None, max_regression: float | None, in_json: bool
) -> None:
    """Show where the wall time of a run went: data loading, forward, backward, optimizer, validation, checkpoints.

    Goodput is the share of the wall time of all ranks, over all attempts, that was spent in forward, backward and
    optimizer of iterations that were not repeated. RUN is a run id, a unique id
    prefix, a run name, or `latest`. With OTHER, another run, the phases of an iteration are compared: which of them are
    slower in OTHER than in RUN, beyond noise.
    """
    if other is not None:
        compare_runs(store.run(run), store.run(other), max_regression, in_json)
        return
    if max_regression is not None:
        raise click.UsageError("--max-regression needs a second run: tracelet time BASELINE RUN --max-regression 5%")
    found = store.run(run)
    processes, whole, said = _analysed(found)
    if rank is not None:
        processes = [times for times in processes if times.rank == rank]
        if not processes:
            raise RunNotFound(f"run {found.id} has no spans of rank {rank}.")
    if in_json:
        click.echo(as_json(_described(processes, whole, said)))
        return
    target = console()
    _tables(target, found, processes, whole)
    _slowest(target, processes)
    _running(target, processes)
    _findings(target, processes, said)


def time_as_json(run: Run) -> dict[str, Any]:
    """The analysis of all processes in the form of the JSON. RunNotFound for a run without spans."""
    return _described(*_analysed(run))


def _analysed(found: Run) -> tuple[list[ProcessTimes], RunTime | None, list[Finding]]:
    from tracelet.telemetry.reading.findings import findings
    from tracelet.telemetry.reading.goodput import run_time
    from tracelet.telemetry.reading.time_analysis import analyse_processes, attribute

    statuses = statuses_by_number(found.views)
    spans = attribute(found.spans(), statuses)
    processes, whole = analyse_processes(spans, statuses), run_time(spans, statuses)
    if not processes:
        raise RunNotFound(
            f"run {found.id} has no spans: it was recorded with track_spans=false, or no code in it was timed."
        )
    said = findings(processes, found.params, found.environment)
    return processes, whole, said


def _described(processes: list[ProcessTimes], whole: RunTime | None, said: list[Finding]) -> dict[str, Any]:
    """Everything for `--json`."""
    return {
        "run": {**asdict(whole), "goodput": whole.goodput} if whole is not None else None,
        "processes": [{**asdict(times), "goodput": times.goodput} for times in processes],
        "findings": [asdict(finding) for finding in said],
    }


def _findings(target: Console, processes: list[ProcessTimes], said: list[Finding]) -> None:
    from tracelet.telemetry.reading.findings import largest_part

    target.print()
    target.print("Findings", style="bold")
    for finding in said:
        target.print(f"  {finding.text}")
    if not said:
        largest = largest_part(next((times for times in processes if times.iterations), processes[0]))
        target.print(f"  No findings{': ' if largest else ''}{largest}.")


def _running(target: Console, processes: list[ProcessTimes]) -> None:
    """What the running processes are doing now."""
    running = [times for times in processes if times.status == RUNNING and times.open]
    if running:
        target.print()
        target.print("Running now", style="bold")
    for times in running:
        target.print(
            f"  rank {times.rank}: {' > '.join(times.open)} (for {duration(times.ended - times.open_since[-1])})"
        )


def _tables(target: Console, run: Run, processes: list[ProcessTimes], whole: RunTime | None) -> None:
    shown = [times for times in processes if times.iterations] or processes
    _head(target, run, [times for times in shown if times.rank == shown[0].rank])
    if whole is not None and any(times.iterations for times in shown):
        _account(target, whole)
    if len(shown) < len(processes):
        target.print(
            f"  not shown: {len(processes) - len(shown)} of {len(processes)} processes, which recorded no training "
            "iterations (launchers, or processes that ended early)"
        )
    if len(shown) > MAX_TABLES:
        _extremes(target, shown)
        return
    for times in shown:
        starts = [other for other in shown if other.rank == times.rank]
        again = f", start {starts.index(times) + 1} of {len(starts)}" if len(starts) > 1 else ""
        _shares(target, times, f"Rank {times.rank}{again}" if len(shown) > 1 else "")


def _head(target: Console, run: Run, starts: list[ProcessTimes]) -> None:
    """What the leading rank did, over all its starts."""
    total = sum(times.total for times in starts)
    target.print(f"{run.info.name}  {run.id}", style="bold")
    iterations = sum(times.iterations for times in starts)
    if not iterations:
        target.print(f"  {duration(total)} total. {NO_ITERATIONS}")
        return
    target.print(
        f"  {duration(total)} total, {duration(sum(times.training for times in starts))} in training loops, "
        f"{counted(iterations, 'iteration')} (median {starts[-1].median * 1e3:.2f} ms)"
    )


def _account(target: Console, whole: RunTime) -> None:
    """The wall time of the run over all attempts and ranks, on one line or two."""
    total = whole.wall * whole.ranks
    parts = [(name, seconds) for name, seconds in whole.parts.items() if total and seconds >= 0.001 * total]
    shown = ", ".join(f"{name.replace('_', ' ')} {seconds / total:.1%}" for name, seconds in parts)
    productive = whole.parts["productive"]  # unknown unless iterations were timed
    target.print(
        f"  {duration(whole.wall)} wall time, {counted(whole.ranks, 'rank')}, {counted(whole.attempts, 'attempt')}"
        + (f", goodput {whole.goodput:.1%}" if productive else "")
    )
    target.print(f"  {shown}")


def _shares(target: Console, times: ProcessTimes, title: str) -> None:
    """One row per share of the time, with proportional bars."""
    target.print()
    if title:
        target.print(title, style="bold")
    figures = ("seconds", "share", "per iteration, first third", "last third")
    shown = table("", "seconds", "share", " ", *(figures[2:] if times.first_third else ()), right=figures)
    maximum = max(times.parts.values(), default=0.0)
    for name, seconds in times.parts.items():
        bar = _bar(target, seconds, maximum)
        shown.add_row(name, f"{seconds:.2f}", f"{times.share(name):.1%}", bar, *_trend(times, name))
    if times.first_third:
        shown.add_row("iteration", "", "", "", *_trend(times, "iteration"))
    print_block(target, shown)


def _trend(times: ProcessTimes, name: str) -> tuple[str, ...]:
    """Its time per iteration in the first and in the last third; empty with too few iterations."""
    if not times.first_third:
        return ()
    return _each(times.first_third.get(name)), _each(times.last_third.get(name))


def _extremes(target: Console, processes: list[ProcessTimes]) -> None:
    """One row per share of the time: its mean over the ranks, and the ranks with the minimum and the maximum."""
    from tracelet.telemetry.reading.process_times import sorted_by_category

    target.print()
    target.print(f"{len(processes)} processes (show one of them: --rank N)", style="bold")
    shown = table(
        "", "mean s", "share", " ", "min s", "rank", "max s", "rank ", right=("mean s", "share", "min s", "max s")
    )
    whole = sum(times.total for times in processes)
    names = sorted_by_category(name for times in processes for name in times.parts)
    sums = {name: sum(times.parts.get(name, 0.0) for times in processes) for name in names}
    for name, seconds in sums.items():
        ordered = sorted((times.parts.get(name, 0.0), times.rank) for times in processes)
        (minimum, quickest), (maximum, slowest) = ordered[0], ordered[-1]
        shown.add_row(
            name, f"{seconds / len(processes):.2f}", f"{seconds / whole:.1%}",
            _bar(target, seconds, max(sums.values())), f"{minimum:.2f}", str(quickest), f"{maximum:.2f}", str(slowest),
        )  # fmt: skip
    print_block(target, shown)


def _bar(target: Console, seconds: float, maximum: float) -> str:
    block = "█" if supports_unicode(target) else "#"
    return block * round(BAR * seconds / maximum) if maximum else ""


def _each(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.2f} ms"


def _slowest(target: Console, processes: list[Any]) -> None:
    rows = [(times.rank, slow) for times in processes for slow in times.slowest[:3]]
    if not rows:
        return
    target.print()
    target.print("Slowest iterations", style="bold")
    shown = table("rank", "iteration", "seconds", "longest phase")
    for rank, slow in sorted(rows, key=lambda row: -row[1].seconds)[:5]:
        maximum = f"{slow.phase} {slow.phase_seconds:.3f} s" if slow.phase else ""
        shown.add_row(str(rank), str(slow.number), f"{slow.seconds:.3f}", maximum)
    print_block(target, shown)
