"""`tracelet doctor`: what is installed, which backends answer, what is not delivered and why, and what to type."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from threading import Thread
from typing import Any

import click

from tracelet import registry, settings
from tracelet._version import __version__
from tracelet.agent.delivery.backend_loading import make
from tracelet.agent.process.configuration import Posting
from tracelet.cli.formatting import as_json, counted
from tracelet.cli.options import store_option
from tracelet.cli.output import echo
from tracelet.cli.pending_deliveries import Debt, debts, running
from tracelet.cli.server_checks import examine
from tracelet.errors import BackendError, SettingsError
from tracelet.guard import guard
from tracelet.redaction.redactor import Redactor
from tracelet.session import backend_arguments
from tracelet.settings import Settings
from tracelet.store.delivery_state import MISCONFIGURED, OFFLINE
from tracelet.store.store import Store

PATIENCE = 15.0
"""Seconds that a backend gets to answer."""
REQUIREMENT = re.compile(r"""([\w.-]+).*extra\s*==\s*["']([\w.-]+)["']""")
Finding = dict[str, Any]


@click.command()
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@click.option("--offline", is_flag=True, help="Ask no backend.")
@store_option
def doctor(store: Store, in_json: bool, offline: bool) -> None:
    """Say what is installed, which backends answer, and what waits to be delivered. Exit code 1: something is wrong."""
    settled = settings.load()
    owed = [debt for run in store.runs() for debt in _owed(run, settled)]
    found: dict[str, Any] = {
        "tracelet": __version__, "python": sys.version.split()[0], "store": _store(store),
        "installed": list(_installed()),
        "backends": list(_answers(settled, owed, offline)), "deliveries": [_delivery(debt) for debt in owed],
    }  # fmt: skip
    problems = [part for part in (found["store"], *found["backends"], *found["deliveries"]) if not part["ok"]]
    echo(as_json({**found, "ok": not problems}) if in_json else "\n".join(_page(found)))
    if problems:
        raise SystemExit(1)


def _owed(run: Any, settled: Settings) -> Iterator[Debt]:
    try:
        yield from (debt for debt in debts(run, settled, begun=True) if not debt.paid)
    except SettingsError as error:
        echo(f"{run.id}: {error}", err=True)


def _store(store: Store) -> Finding:
    root = store.root
    runs = len(store.runs())
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    writable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    fix = "" if writable else f"Make {place} writable, or name another folder: --dir FOLDER, or TRACELET_DIR"
    return {"folder": str(root), "runs": runs, "writable": writable, "ok": writable, "fix": fix}


def _installed() -> Iterator[Finding]:
    """Every backend, and the version of what it needs, which is not imported for that."""
    extras: dict[str, list[str]] = {}
    with guard("reading what is installed"):
        for line in requires("tracelet") or ():
            match = REQUIREMENT.match(line)
            if match and match[1] != "tracelet":
                extras.setdefault(match[2], []).append(match[1])
    for name in registry.BACKENDS:
        needed = extras.get(name, [])
        versions = {package: _version(package) for package in needed}
        missing = [package for package, found in versions.items() if not found]
        fix = f"pip install 'tracelet[{name}]'" if missing else ""
        yield {"backend": name, "packages": versions, "installed": not missing, "fix": fix}
    for point in entry_points(group="tracelet.backends"):
        yield {"backend": point.name, "packages": {}, "installed": True, "fix": "", "reference": point.value}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _answers(settled: Settings, owed: Sequence[Debt], offline: bool) -> Iterator[Finding]:
    """What each backend says that is configured here, or that a run waits for."""
    postings = {debt.posting.name: debt.posting for debt in owed}
    configured = backend_arguments.parse(settled.backend, settled.tables)
    if len(configured) == 1:
        configured = backend_arguments.addressed(configured, settled.api_key, settled.backend_url)
    postings.update((posting.name, posting) for posting in registry.postings(configured))
    for name, posting in postings.items():
        yield {"backend": name, **(_not_asked() if offline else _asked(posting))}


def _not_asked() -> Finding:
    return {"answers": None, "says": "not asked", "fix": "", "ok": True}


def _asked(posting: Posting) -> Finding:
    said: list[Finding] = []
    asking = Thread(target=lambda: said.append(_ask(posting)), name="tracelet-doctor", daemon=True)
    asking.start()
    asking.join(PATIENCE)
    if said:
        return said[0]
    return {"answers": False, "says": f"no answer within {PATIENCE:.0f} s", "fix": "Is its server up?", "ok": False}


def _ask(posting: Posting) -> Finding:
    redact = Redactor(posting.options)
    finding: Finding = {"answers": False, "says": "an unexpected failure", "fix": "", "ok": False}
    with guard(f"asking {posting.name}"):
        try:
            backend = make(posting.name, posting.reference, posting.options)
            check = getattr(backend, "check", None)
            if check is not None:
                return {"answers": True, "says": redact(str(check())), "fix": "", "ok": True}
            answers, says, fix = examine(posting.name, posting.options)
            finding = {"answers": answers, "says": redact(says), "fix": fix, "ok": answers is not False}
        except BackendError as error:
            says, fix = getattr(error, "why", str(error)), getattr(error, "fix", "Is its server up?")
            finding = {"answers": False, "says": redact(says), "fix": redact(fix), "ok": False}
    return finding


def _delivery(debt: Debt) -> Finding:
    delivery, run = debt.delivery, debt.run
    live = bool(debt.holder or debt.agent)
    fix = delivery.fix if delivery.state == MISCONFIGURED else ""
    waits = not live and not running(run)
    command = debt.command if waits or delivery.state == MISCONFIGURED else ""
    return {
        "run": run.id, "name": run.info.name, "backend": debt.posting.name, "state": delivery.state,
        "left": debt.left, "rejected": delivery.rejected, "why": delivery.error, "delivering": live, "fix": fix,
        "command": command, "ok": not command and delivery.state not in (MISCONFIGURED, OFFLINE),
    }  # fmt: skip


def _page(found: dict[str, Any]) -> Iterator[str]:
    store = found["store"]
    yield f"tracelet {found['tracelet']}, Python {found['python']}"
    runs = counted(store["runs"], "run")
    yield f"store {store['folder']}: {runs}" + ("" if store["ok"] else f", not writable. {store['fix']}")
    yield "\ninstalled"
    for row in found["installed"]:
        packages = ", ".join(f"{name} {number or 'missing'}" for name, number in row["packages"].items())
        yield f"  {row['backend']:12} {packages or 'ready'}" + (f"; {row['fix']}" if row["fix"] else "")
    yield "\nbackends in use"
    for row in found["backends"]:
        mark = {True: "answers", False: "does not work", None: "-"}[row["answers"]]
        yield f"  {row['backend']:12} {mark}: {row['says']}" + (f". {row['fix']}" if row["fix"] else "")
    if not found["backends"]:
        yield "  none"
    yield "\nnot delivered yet"
    for row in found["deliveries"]:
        yield "  " + ". ".join(part.rstrip(".") for part in _line(row))
    if not found["deliveries"]:
        yield "  nothing"


def _line(row: Finding) -> Iterator[str]:
    why, left = f" ({row['why']})" if row["why"] else "", row["left"]
    points = "1 point" if left == 1 else f"{left:,} points"
    yield f"{row['run']} {row['name']} to {row['backend']}: {row['state']}, {points} left{why}"
    if row["rejected"]:
        yield f"{row['rejected']:,} records were refused, see {row['backend']}.dead.jsonl"
    if row["fix"]:
        yield row["fix"]
    if row["delivering"]:
        yield "An agent is at it"
    elif row["command"]:
        yield f"Type: {row['command']}"
