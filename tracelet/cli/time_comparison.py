"""`tracelet time A B`: which phase of run B is slower or faster than in run A. Called by `time`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tracelet.cli.formatting import as_json
from tracelet.cli.output import console, print_block, table
from tracelet.errors import InvalidArgument
from tracelet.store.process_status import statuses_by_number
from tracelet.store.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tracelet.telemetry.reading.time_comparison import PhaseChange, TrainingFacts

TOO_SLOW = 1
"""The exit code when the iterations are slower than allowed."""


class Percentage(click.ParamType):  # type: ignore[type-arg]  # it has none before click 8.2
    """`5%` or `0.05`, as a share."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share; fails for anything else."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share < 100:
            self.fail(f"{value!r} is not a share such as 5% or 0.05", param, ctx)
        return share


def compare_runs(first: Run, second: Run, limit: float | None, in_json: bool) -> None:
    """Print how the phases of the second run differ from those of the first; exit 1 beyond the limit."""
    from tracelet.telemetry.reading.time_comparison import ITERATION, compare, refusal

    (facts, before), (others, after) = _windows(first), _windows(second)
    why = refusal(facts, others)
    if why:
        raise InvalidArgument(f"{first.id} and {second.id} cannot be compared: {why}.")
    changes = compare(before, after)
    iteration = next(change for change in changes if change.phase == ITERATION)
    failed = limit is not None and iteration.significant and iteration.change > limit
    if in_json:
        described = [{**asdict(change), "change": change.change} for change in changes]
        click.echo(as_json({"before": first.id, "after": second.id, "phases": described, "failed": failed}))
    else:
        _print(first, second, changes, limit if failed else None)
    if failed:
        raise click.exceptions.Exit(TOO_SLOW)


def _windows(run: Run) -> tuple[TrainingFacts, dict[str, NDArray[Any]]]:
    from tracelet.telemetry.reading.time_analysis import attribute
    from tracelet.telemetry.reading.time_comparison import MIN_WINDOWS, TrainingFacts, windows

    processes = attribute(run.spans(), statuses_by_number(run.views))
    found = windows(processes)
    if not found:
        raise InvalidArgument(
            f"run {run.id} cannot be compared: no process has the {2 * MIN_WINDOWS + 1} training iterations needed."
        )
    ranks = {process.columns.rank for process in processes if len(process.columns.iterations())}
    updates = run.events("training_metrics_update")
    batch = updates[-1].attributes.get("avg_batch_size") if updates else None
    return TrainingFacts(len(ranks), float(batch) if isinstance(batch, (int, float)) else 0.0), found


def _print(first: Run, second: Run, changes: list[PhaseChange], exceeded: float | None) -> None:
    target = console()
    target.print(f"{first.info.name} {first.id}  ->  {second.info.name} {second.id}", style="bold")
    shown = table("per iteration", "before", "after", "change", " ", right=("before", "after", "change"))
    for one in changes:
        word = ("slower" if one.after > one.before else "faster") if one.significant else "no difference"
        difference = f"{(one.after - one.before) * 1e3:+.2f} ms" + (f" ({one.change:+.1%})" if one.before else "")
        shown.add_row(one.phase, f"{one.before * 1e3:.2f} ms", f"{one.after * 1e3:.2f} ms", difference, word)
    print_block(target, shown)
    if exceeded is not None:
        target.print(f"Iterations are slower by more than {exceeded:.1%}.", style="bold red")
