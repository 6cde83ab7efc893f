"""trackio: what a program logs to its runs, local or on a Space.

Called on the user's threads around `Run.log`, where every way of logging ends. Without a step, the row gets trackio's
own counter. What trackio itself samples (the machine) is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tracelet.integrations.metric_values import as_step
from tracelet.integrations.patching import Patch
from tracelet.integrations.tracker_calls import TrackerIntegration

RUN = "trackio.run"
INTERNAL = "_"
"""The prefix of the entries that trackio adds to a configuration: user name, creation time, group."""


class TrackioIntegration(TrackerIntegration):
    """Records what a program gives to trackio."""

    name, title = "trackio", "trackio"

    def patches(self) -> Iterable[Patch]:
        """Where runs begin, rows arrive, and files."""
        yield Patch("trackio", "init", self.after(self._begin))
        yield Patch(RUN, "Run.log", self.taking(self._row))
        yield from self.unrecorded(RUN, {"Run.log_artifact": "artifacts", "Run.alert": "alerts"})

    def _prefix(self, run: Any) -> str:
        return self.prefix(run.id, lambda: str(run.name))

    def _begin(self, run: Any, *_: Any, **__: Any) -> None:
        given = dict(run.config or {})
        self.params(self._prefix(run), {name: one for name, one in given.items() if not str(name).startswith(INTERNAL)})

    def _row(self, run: Any, metrics: Any, step: Any = None, *_: Any) -> None:
        if isinstance(metrics, Mapping):  # trackio drops anything else, with a warning
            given = as_step(step)
            at = as_step(getattr(run, "_next_step", None)) if given is None else given
            self.values(self._prefix(run), _flat(metrics), at)


def _flat(row: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A row's entries; nested names are joined by a slash."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value
