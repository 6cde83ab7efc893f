"""Sends alerts through apprise: each once to each address, again with back-off while an address does not take it.

Used on the agent's alert thread. What was sent is saved in RUN/alerts.json, with hashes in place of the addresses: they
hold credentials and are never written anywhere.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tracelet.agent.alerts.rules import ERROR, WARNING, Alert
from tracelet.journal.private_files import open_private

FILE_NAME = "alerts.json"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two attempts at an address."""
TYPES = {WARNING: "warning", ERROR: "failure"}


class Sender:
    """The alerts of one run that are still to be sent."""

    def __init__(self, folder: Path, addresses: Sequence[str], log: Callable[[str], None]) -> None:
        self._path = folder / FILE_NAME
        self._log = log
        self._targets = {hashlib.sha256(url.encode()).hexdigest()[:12]: _target(url) for url in addresses}
        for number, (name, target) in enumerate(list(self._targets.items()), 1):
            if target is None:
                log(f"alerts: address {number} is not one that apprise knows; nothing is sent to it")
                del self._targets[name]
        self._sent = set(_read(self._path))
        self._pending: list[tuple[str, Alert]] = []
        self._pause: dict[str, float] = {}
        self._next: dict[str, float] = {}

    @property
    def pending(self) -> int:
        """How many messages have not arrived."""
        return len(self._pending)

    def add(self, alert: Alert) -> None:
        """Send it soon, to each address that has not received it."""
        for name in self._targets:
            known = any(name == other and alert.key == queued.key for other, queued in self._pending)
            if f"{name} {alert.key}" not in self._sent and not known:
                self._pending.append((name, alert))

    def send_due(self) -> None:
        """Try what is due, in order for each address; never raises for an address that fails."""
        for name, alert in list(self._pending):
            if time.monotonic() < self._next.get(name, 0.0):
                continue
            if self._targets[name].notify(
                title=alert.title, body=alert.text, notify_type=TYPES.get(alert.level, "info")
            ):
                self._pending.remove((name, alert))
                self._sent.add(f"{name} {alert.key}")
                self._pause.pop(name, None)
                self._save()
                continue
            pause = self._pause[name] = min(LONGEST_PAUSE, self._pause.get(name, FIRST_PAUSE / 2) * 2)
            self._next[name] = time.monotonic() + pause
            self._log(f"alerts: {alert.title!r} was not accepted; trying again in {pause:g} s")

    def _save(self) -> None:
        with open(self._path, "wb", opener=open_private) as file:
            file.write(msgspec.json.encode(sorted(self._sent)))


def _target(url: str) -> Any:
    """An apprise object with one address; None if it does not know such an address."""
    import apprise

    logging.getLogger("apprise").disabled = True  # it logs addresses, which hold credentials
    target = apprise.Apprise()
    return target if target.add(url) else None


def _read(path: Path) -> list[str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[str])
    except (OSError, msgspec.MsgspecError):
        return []
