"""The rules of the setting `alert_rules`, and what they say of points and of the end of a run. Pure.

Used on the agent's alert thread, never in the training. Syntax is checked by `settings` when a run starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tracelet.journal.records import STATUSES

INFO, WARNING, ERROR = "info", "warning", "error"
STALLED = "stalled:"
_COMPARISON = re.compile(r"(.+?)\s*(<|>)\s*(.+)")


@dataclass(frozen=True)
class Alert:
    """One message. It is sent once for each `key` of a run."""

    key: str
    title: str
    text: str
    level: str = INFO


class Rules:
    """The rules of one run; each reports a metric once."""

    def __init__(self, rules: str, run: str) -> None:
        names = [rule.strip() for rule in rules.split(",") if rule.strip()]
        self._run = run
        self._statuses = frozenset(names) & frozenset(STATUSES)
        self._nan = "nan" in names
        self._limits = [
            (found[1], found[2], float(found[3])) for rule in names if (found := _COMPARISON.fullmatch(rule))
        ]
        minutes = [float(rule.removeprefix(STALLED)) for rule in names if rule.startswith(STALLED)]
        self.stalled_after = min(minutes) * 60 if minutes else 0.0
        """Seconds without a new point; 0 for no such rule."""
        self._reported: set[str] = set()

    def points(self, name: str, steps: list[int], values: list[float]) -> Iterator[Alert]:
        """What the rules say of new points of a metric."""
        if self._nan and f"nan {name}" not in self._reported:
            for step, value in zip(steps, values):
                if value - value != 0:  # NaN or infinite
                    yield self._once(f"nan {name}", f"{name} is {value}", f"at step {step}", ERROR)
                    break
        for pattern, sign, limit in self._limits:
            key = f"{name}{sign}{limit}"
            if key in self._reported or not (name == pattern or fnmatchcase(name, pattern)):
                continue
            for step, value in zip(steps, values):
                if value < limit if sign == "<" else value > limit:
                    words = "below" if sign == "<" else "above"
                    yield self._once(key, f"{name} is {words} {limit:g}", f"{value:g} at step {step}", WARNING)
                    break

    def status(self, status: str, reason: str, moment: float) -> Iterator[Alert]:
        """What the rules say of the end of the run."""
        if status in self._statuses:
            level = INFO if status == "finished" else ERROR
            yield Alert(
                f"status {status} {int(moment)}", f"{self._run}: {status}", reason or "The run has ended.", level
            )

    def stalled(self, since: float) -> Alert:
        """No point has come since then (seconds since the epoch)."""
        minutes = self.stalled_after / 60
        return Alert(
            f"stalled {int(since)}", f"{self._run}: no progress", f"No new point for {minutes:g} minutes.", WARNING
        )

    def _once(self, key: str, what: str, where: str, level: str) -> Alert:
        self._reported.add(key)
        return Alert(key, f"{self._run}: {what}", where, level)
