"""`tracelet sweep CONFIG`: starts a sweep; `resume`, `ls`, `show`, `best` and `stop` do the rest.

The command runs the controller in its own process, on the main thread, until the last trial has ended.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tracelet.cli.options import dir_hint, store_option
from tracelet.cli.output import echo
from tracelet.cli.run import key_values
from tracelet.cli.sweep_views import best, ls, show
from tracelet.errors import SweepError
from tracelet.settings import load
from tracelet.store.store import Store
from tracelet.sweeps.controller import Controller, Limits, checked_command
from tracelet.sweeps.devices import Devices
from tracelet.sweeps.grid import grid_size
from tracelet.sweeps.progress import Progress, best_trial, described
from tracelet.sweeps.study import FAILED
from tracelet.sweeps.sweep_config import GRID_SEARCH, SweepConfig
from tracelet.sweeps.sweep_folder import STOP, Sweep, find_sweep

START = "start"


class SweepGroup(click.Group):
    """A group in which everything that names no other command starts a sweep."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name of the starting command before its arguments."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [START, *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options with which a sweep starts, before the other commands."""
        self.commands[START].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=SweepGroup, options_metavar="CONFIG [OPTIONS]", subcommand_metavar="| COMMAND [ARGS]...")
def sweep() -> None:
    """Search for hyperparameters: run a script with many parameters.

    \b
    tracelet sweep sweep.yaml --count 20 --workers 4
    tracelet sweep show

    CONFIG is a configuration in the format of Weights & Biases. The script stays as it is; its metrics are read from
    its runs. The options are those of a new sweep.
    """  # noqa: D301  (click knows a real backspace alone: keep these lines as they are)


def _worker_options(command: Any) -> Any:
    for option in reversed((
        click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Trials side by side."),
        click.option("--gpus", metavar="IDS", help="GPUs to assign to trials: 0,1 or all (of CUDA_VISIBLE_DEVICES)."),
        click.option("--trials-per-gpu", default=1, show_default=True, type=click.IntRange(1), help="Trials on a GPU."),
        click.option("--config", "settings", multiple=True, metavar="KEY=VALUE", help="Set a setting (repeatable)."),
    )):  # fmt: skip
        command = option(command)
    return command


@sweep.command(START)
@click.argument("config", type=click.Path(dir_okay=False))
@click.option("--count", type=click.IntRange(1), help="Number of trials (default: all of a grid, or `run_cap`).")
@_worker_options
@click.option("--name", help="Name of the sweep (default: `name`, or the program's).")
@click.option("--project", help="Project of the runs (default: `project`).")
@click.option("--seed", type=int, help="Sample the same parameters again.")
@click.option(
    "--retry", default=0, show_default=True, type=click.IntRange(0), help="How often a failed trial runs again."
)
@click.option(
    "--storage", default="", metavar="URL", help="Keep the trials in this database: postgresql://USER@HOST/NAME."
)
@click.option("--id", "sweep_id", default="", help="Join the sweep with this id in the database, or start it.")
@store_option
@click.pass_context
def start(
    ctx: click.Context, store: Store, config: str, count: int | None, workers: int, gpus: str | None,
    trials_per_gpu: int, settings: tuple[str, ...], name: str | None, project: str | None, seed: int | None,
    retry: int, storage: str, sweep_id: str,
) -> None:  # fmt: skip
    """Start a sweep."""
    read = SweepConfig.read(config)
    total = _total(read, count)
    given = _checked_settings(settings)
    made = Sweep.create(
        store, read, id=sweep_id, name=name or "", project=project or "", count=total, seed=seed, retry=retry,
        storage=storage,
    )  # fmt: skip
    _run(ctx, made, Limits(workers, retry), Devices.given(gpus, trials_per_gpu), given, storage)


def _checked_settings(texts: tuple[str, ...]) -> dict[str, str]:
    given = key_values(texts, "--config")
    load(config=given)  # SettingsError now, and not in every trial
    return given


def _total(config: SweepConfig, count: int | None) -> int | None:
    caps = [number for number in (count, config.run_cap) if number is not None]
    if config.method != GRID_SEARCH and not caps:
        raise SweepError(f"`method: {config.method}` has no end. Type: --count 20, or give `run_cap`")
    if config.method == GRID_SEARCH:
        caps.append(grid_size(config.parameters))
    return min(caps)


@sweep.command()
@click.argument("name", default="latest")
@_worker_options
@click.option("--count", type=click.IntRange(1), help="Total number of trials, to add some.")
@click.option("--retry", type=click.IntRange(0), help="How often a failed trial runs again (default: as at the start).")
@click.option("--storage", default="", metavar="URL", help="The database with its password, if it needs one.")
@store_option
@click.pass_context
def resume(
    ctx: click.Context, store: Store, name: str, workers: int, gpus: str | None, trials_per_gpu: int,
    settings: tuple[str, ...], count: int | None, retry: int | None, storage: str,
) -> None:  # fmt: skip
    """Resume a sweep, or add a controller to a running one."""
    found = find_sweep(store, name)
    if found.record.function:
        raise SweepError(f"this sweep runs the function {found.record.function}. Start its program again instead")
    (found.path / STOP).unlink(missing_ok=True)
    limits = Limits(workers, found.record.retry if retry is None else retry)
    _run(ctx, found, limits, Devices.given(gpus, trials_per_gpu), _checked_settings(settings), storage, count)


def _run(
    ctx: click.Context, found: Sweep, limits: Limits, devices: Devices, settings: dict[str, str], storage: str,
    count: int | None = None,
) -> None:  # fmt: skip
    study = found.study(storage)
    study.prepare(count or found.record.count)
    progress = Progress(found, study, limits.workers, echo)
    controller = Controller(found, study, limits, devices, progress.tell, {"quiet": "true", **settings})
    checked_command(found, controller)
    echo(f"sweep {found.record.name!r} is {found.id} in {found.store}")
    try:
        controller.run()
    except KeyboardInterrupt:
        echo(f"The sweep is interrupted. Type: tracelet sweep resume {found.id}{dir_hint(ctx)}", err=True)
        sys.exit(130)
    trials = study.trials()
    best_one = best_trial(trials, found.config.objective)
    if best_one is not None and best_one.metric is not None:
        echo(f"best: trial {best_one.number} with {best_one.metric:.6g}: {described(best_one.values)}")
    failed = sum(trial.status == FAILED for trial in trials)
    echo(
        f"{failed} of {len(trials)} trials failed. " * bool(failed)
        + f"Type: tracelet sweep show {found.id}{dir_hint(ctx)}"
    )
    if failed and failed == sum(trial.has_ended for trial in trials):
        sys.exit(1)


@sweep.command()
@click.argument("name", default="latest")
@store_option
def stop(store: Store, name: str) -> None:
    """Stop a sweep: its trials are asked to end, and run again when it resumes."""
    found = find_sweep(store, name)
    Path(found.path / STOP).touch()
    echo(f"sweep {found.id} is asked to stop. To continue: tracelet sweep resume {found.id}")


for _view in (ls, show, best):
    sweep.add_command(_view)
