"""`tracelet doctor`: checks the installation, the backends and pending deliveries, and says what to type."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from threading import Thread
from typing import Any

import click

from tracelet import registry, settings
from tracelet._version import __version__
from tracelet.agent.delivery.backend_loading import make
from tracelet.agent.process.configuration import BackendConfig
from tracelet.cli.doctor_servers import check_server
from tracelet.cli.formatting import as_json, counted
from tracelet.cli.installation import backend_packages, foreign_distributions
from tracelet.cli.options import store_option
from tracelet.cli.output import echo
from tracelet.cli.pending_deliveries import PendingDelivery, pending_deliveries, running
from tracelet.errors import BackendError, SettingsError
from tracelet.guard import guard
from tracelet.redaction.redactor import Redactor
from tracelet.session import backend_arguments
from tracelet.settings import Settings
from tracelet.store.delivery_state import MISCONFIGURED, OFFLINE
from tracelet.store.store import Store

TIMEOUT = 15.0
"""Seconds for a backend to respond."""

CHECK_SERVER = "Check that its server is running"
Finding = dict[str, Any]


@click.command()
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@click.option("--offline", is_flag=True, help="Do not contact any backend.")
@store_option
def doctor(store: Store, in_json: bool, offline: bool) -> None:
    """Check the installation, the backends, and pending deliveries.

    Exit code 1 means that at least one check failed; the output says how to fix it.
    """
    settled = settings.load()
    deliveries = [pending for run in store.runs() for pending in _pending(run, settled)]
    found: dict[str, Any] = {
        "tracelet": __version__, "python": sys.version.split()[0], "store": _store(store),
        "other_distributions": list(foreign_distributions()), "installed": list(backend_packages()),
        "backends": list(_backends(settled, deliveries, offline)),
        "deliveries": [_delivery(pending) for pending in deliveries],
    }  # fmt: skip
    checked = (found["store"], *found["other_distributions"], *found["backends"], *found["deliveries"])
    problems = [part for part in checked if not part["ok"]]
    echo(as_json({**found, "ok": not problems}) if in_json else "\n".join(_report(found)))
    if problems:
        raise SystemExit(1)


def _pending(run: Any, settled: Settings) -> Iterator[PendingDelivery]:
    try:
        yield from (
            pending for pending in pending_deliveries(run, settled, include_unfinished=True) if not pending.complete
        )
    except SettingsError as error:
        echo(f"{run.id}: {error}", err=True)


def _store(store: Store) -> Finding:
    root = store.root
    runs = len(store.runs())
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    writable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    fix = "" if writable else f"Make {place} writable, or name another folder: --dir FOLDER, or TRACELET_DIR"
    return {"folder": str(root), "runs": runs, "writable": writable, "ok": writable, "fix": fix}


def _backends(settled: Settings, deliveries: Sequence[PendingDelivery], offline: bool) -> Iterator[Finding]:
    """The check of each backend that is configured here, or that a run waits for."""
    backend_configs = {pending.config.name: pending.config for pending in deliveries if not pending.doubt}
    configured = backend_arguments.parse(settled.backend, settled.tables)
    if len(configured) == 1:
        configured = backend_arguments.with_address(configured, settled.api_key, settled.backend_url)
    backend_configs.update((config.name, config) for config in registry.backend_configs(configured))
    for name, config in backend_configs.items():
        yield {"backend": name, **(_not_checked() if offline else _check_within_timeout(config))}


def _not_checked() -> Finding:
    return {"answers": None, "says": "not contacted", "fix": "", "ok": True}


def _check_within_timeout(config: BackendConfig) -> Finding:
    said: list[Finding] = []
    asking = Thread(target=lambda: said.append(_check_backend(config)), name="tracelet-doctor", daemon=True)
    asking.start()
    asking.join(TIMEOUT)
    if said:
        return said[0]
    return {
        "answers": False,
        "says": f"no answer within {TIMEOUT:.0f} s",
        "fix": CHECK_SERVER,
        "ok": False,
    }


def _check_backend(config: BackendConfig) -> Finding:
    redact = Redactor(config.options)
    finding: Finding = {"answers": False, "says": "unexpected error", "fix": "", "ok": False}
    with guard(f"asking {config.name}"):
        try:
            backend = make(config.name, config.reference, config.options)
            check = getattr(backend, "check", None)
            if check is not None:
                return {"answers": True, "says": redact(str(check())), "fix": "", "ok": True}
            answers, says, fix = check_server(config.name, config.options)
            finding = {"answers": answers, "says": redact(says), "fix": fix, "ok": answers is not False}
        except BackendError as error:
            says, fix = getattr(error, "why", str(error)), getattr(error, "fix", CHECK_SERVER)
            finding = {"answers": False, "says": redact(says), "fix": redact(fix), "ok": False}
    return finding


def _delivery(pending: PendingDelivery) -> Finding:
    delivery, run = pending.delivery, pending.run
    live = bool(pending.holder or pending.agent)
    fix = delivery.fix if delivery.state == MISCONFIGURED else ""
    waits = not live and not running(run)
    command = pending.command if waits or delivery.state == MISCONFIGURED else ""
    return {
        "run": run.id, "name": run.info.name, "backend": pending.config.name, "state": delivery.state,
        "left": pending.left, "rejected": delivery.rejected, "why": pending.doubt or delivery.error,
        "delivering": live, "fix": fix, "command": "" if pending.doubt else command,
        "ok": not (command or pending.doubt) and delivery.state not in (MISCONFIGURED, OFFLINE),
    }  # fmt: skip


def _report(found: dict[str, Any]) -> Iterator[str]:
    store = found["store"]
    yield f"tracelet {found['tracelet']}, Python {found['python']}"
    runs = counted(store["runs"], "run")
    yield f"store {store['folder']}: {runs}" + ("" if store["ok"] else f", not writable. {store['fix']}")
    for row in found["other_distributions"]:
        yield f"another package is installed under our name: tracelet {row['version']} in {row['folder']}. {row['fix']}"
    yield "\ninstalled"
    for row in found["installed"]:
        packages = ", ".join(f"{name} {number or 'missing'}" for name, number in row["packages"].items())
        yield f"  {row['backend']:12} {packages or 'ready'}" + (f"; {row['fix']}" if row["fix"] else "")
    yield "\nbackends in use"
    for row in found["backends"]:
        mark = {True: "ok", False: "failed", None: "-"}[row["answers"]]
        yield f"  {row['backend']:12} {mark}: {row['says']}" + (f". {row['fix']}" if row["fix"] else "")
    if not found["backends"]:
        yield "  none"
    yield "\npending deliveries"
    for row in found["deliveries"]:
        yield "  " + ". ".join(part.rstrip(".") for part in _line(row))
    if not found["deliveries"]:
        yield "  none"


def _line(row: Finding) -> Iterator[str]:
    why, left = f" ({row['why']})" if row["why"] else "", row["left"]
    points = "1 point" if left == 1 else f"{left:,} points"
    yield f"{row['run']} {row['name']} to {row['backend']}: {row['state']}, {points} left{why}"
    if row["rejected"]:
        yield f"{counted(row['rejected'], 'record')} rejected, see {row['backend']}.dead.jsonl"
    if row["fix"]:
        yield row["fix"]
    if row["delivering"]:
        yield "An agent is delivering it"
    elif row["command"]:
        yield f"Type: {row['command']}"
