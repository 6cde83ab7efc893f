"""`tracelet sync`: delivers pending data with the agent's couriers, in the foreground."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracelet import settings
from tracelet.agent.delivery.wait_for_delivery import delivered_journals
from tracelet.cli.formatting import counted
from tracelet.cli.options import store_option
from tracelet.cli.output import echo
from tracelet.cli.pending_deliveries import PendingDelivery, is_own, pending_deliveries, running
from tracelet.cli.withheld_credentials import withheld_credentials
from tracelet.store import delivery_state
from tracelet.store.delivery_state import DONE, MISCONFIGURED, OFFLINE, Delivery
from tracelet.store.run import Run
from tracelet.store.store import Store

if TYPE_CHECKING:
    from tracelet.agent.delivery.courier_pool import CourierPool

POLL = 0.1
"""Seconds between two checks."""


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--backend", metavar="NAME[,NAME]",
    help="Deliver to these backends (default: the backends that the run was started with).",
)  # fmt: skip
@click.option(
    "--patience", default=60.0, show_default=True, help="Seconds to wait for a backend that does not respond."
)
@click.option(
    "--trust", is_flag=True,
    help="Deliver also to addresses that only the record of another user's run names, without your credentials.",
)  # fmt: skip
@click.option("--repair", is_flag=True, help="Also send what the backend has lost, after `tracelet verify`.")
@store_option
def sync(store: Store, runs: tuple[str, ...], backend: str | None, patience: float, trust: bool, repair: bool) -> None:
    """Deliver pending data of the given runs, or of all runs, to their backends.

    RUN is a run id, a unique id prefix, a run name, or `latest`. What has been delivered already is not sent again.
    """
    chosen = {run.id: run for run in map(store.run, runs)} if runs else {run.id: run for run in store.runs()}
    asked = [name.strip() for name in (backend or "").split(",") if name.strip()]
    found, complete = False, True
    for run in chosen.values():
        deliveries = list(pending_deliveries(run, settings.load(), asked, trust=trust))
        found = found or bool(deliveries)
        complete = _settle(run, deliveries, patience, named=bool(runs), repair=repair) and complete
    if not found:
        which = "these runs have" if runs else "the runs of this store have"
        echo(f"nothing to deliver: {which} no backend. Name one: tracelet sync RUN --backend mlflow")
    if not complete:
        raise SystemExit(1)


def _settle(run: Run, deliveries: Sequence[PendingDelivery], patience: float, named: bool, repair: bool) -> bool:
    """Deliver one run; whether nothing is left except for a live agent."""
    unfinished: list[PendingDelivery] = []
    later = False
    for pending in deliveries:
        agent = pending.agent if running(run) else 0
        busy = pending.holder or (agent if pending.named else 0)
        if agent and not busy:
            later = True
            echo(
                f"{run.id} {pending.config.name}: not started, because the run is still running and this backend is "
                f"not one of its own. After the run ends, type: {pending.command}", err=True,
            )  # fmt: skip
        elif busy:
            echo(f"{run.id} {pending.config.name}: process {busy} is delivering it; nothing to do")
        elif pending.complete and not repair:
            if named:
                sent = f"{counted(pending.delivery.points, 'point')}{_at(pending.delivery)}"
                echo(f"{run.id} {pending.config.name}: complete, {sent}")
        elif pending.doubt:
            later = True
            echo(f"{run.id} {pending.config.name}: not delivered, because {pending.doubt}", err=True)
        else:
            unfinished.append(pending)
    if not unfinished:
        return not later
    notes = run.path / delivery_state.FOLDER
    if not os.access(notes if notes.exists() else run.path, os.W_OK):
        echo(
            f"{run.id}: nothing delivered, because the delivery progress cannot be saved: {run.path} is not writable. "
            "Nothing is lost. Make it writable, or sync a copy of the store: tracelet sync --dir FOLDER", err=True,
        )  # fmt: skip
        return False
    # In a folder that a foreign run names, clients and Python itself would find settings and modules of others.
    with in_folder(run.info.folder if is_own(run) else ""):
        _deliver(run.path, [pending for pending in unfinished if not pending.without_credentials], patience, repair)
        with withheld_credentials():
            _deliver(run.path, [pending for pending in unfinished if pending.without_credentials], patience, repair)
    reports = [_report(run, pending) for pending in unfinished]
    return all(reports) and not later


def _deliver(folder: Path, deliveries: Sequence[PendingDelivery], patience: float, repair: bool) -> None:
    if not deliveries:
        return
    # Imported here because it loads tenacity, which would slow down `tracelet --help`.
    from tracelet.agent.delivery.courier_pool import CourierPool

    pool = CourierPool(folder, _ignore, follow=False, repair=repair)
    pool.start(pending.config for pending in deliveries)
    names = [pending.config.name for pending in deliveries]
    try:
        with _bar(folder, names) as show:
            while pool.busy and not _all_out_of_time(pool, patience):
                if show is not None:
                    show()
                time.sleep(POLL)
    finally:
        pool.stop()


def _ignore(sentence: str) -> None:
    """Ignore the couriers' messages: they are in the delivery's state, which `_report` prints."""


def _bar(folder: Path, names: Sequence[str]) -> AbstractContextManager[Callable[[], None] | None]:
    if not sys.stderr.isatty():
        return nullcontext()
    from tracelet.agent.delivery.progress_bar import ProgressBar

    return ProgressBar(f"{folder.name}: {', '.join(names)}", lambda: _share(folder, names))


def _share(folder: Path, names: Sequence[str]) -> float:
    sizes = {path.name: path.stat().st_size for path in delivered_journals(folder)}
    states = [delivery_state.read(folder, name) for name in names]
    done = sum(min(size, s.cursors.get(name, (0, 0))[1]) for s in states if s for name, size in sizes.items())
    return done / max(1, sum(sizes.values()) * len(names))


def _all_out_of_time(pool: CourierPool, patience: float) -> bool:
    """Whether none of the couriers still working has had an answer for too long."""
    states = [courier.state.delivery for courier in pool.couriers.values() if courier.is_alive()]
    stuck = [courier.call_seconds() > patience for courier in pool.couriers.values() if courier.is_alive()]
    return all((s.state == OFFLINE and time.time() - s.since > patience) or late for s, late in zip(states, stuck))


def _report(run: Run, pending: PendingDelivery) -> bool:
    delivery = delivery_state.read(run.path, pending.config.name) or pending.delivery
    name = f"{run.id} {pending.config.name}"
    sent = max(0, delivery.points - pending.delivery.points)
    aside = (
        f"; {counted(delivery.rejected, 'record')} rejected, see {delivery.backend}.dead.jsonl"
        if delivery.rejected
        else ""
    )
    if delivery.state == DONE or (running(run) and not delivery.error):
        echo(f"{name}: {counted(sent, 'point')} delivered{_at(delivery)}{aside}")
        return True
    why = delivery.error or "it did not respond"
    fix = delivery.fix if delivery.state == MISCONFIGURED else f"Nothing is lost. To retry: {pending.command}"
    echo(f"{name}: {counted(sent, 'point')} delivered, the rest is pending: {why}. {fix}{aside}", err=True)
    return False


def _at(delivery: Delivery) -> str:
    return f", view at {delivery.url}" if delivery.url else ""


@contextmanager
def in_folder(folder: str) -> Iterator[None]:
    """Options such as `sqlite:///mlflow.db` are relative to the folder in which the training ran, if it exists."""
    before = Path.cwd()
    if folder and Path(folder).is_dir():
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
