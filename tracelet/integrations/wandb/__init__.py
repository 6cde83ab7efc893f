"""Weights & Biases: data that a program logs to its runs, online, offline or disabled.

Called on the user's threads around `Run._log`, where every way of logging ends, and where the configuration changes.
The step of a row is the one that wandb gives it: explicit, or the open row. Values are recorded as given, with nested
names joined by a dot as in wandb.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tracelet.capture.metric_definitions import GOALS
from tracelet.integrations.base import Sink
from tracelet.integrations.metric_values import as_step
from tracelet.integrations.patching import Patch
from tracelet.integrations.tracker_calls import TrackerIntegration
from tracelet.integrations.wandb.local_sweeps import OFF, WandbSweeps
from tracelet.journal.metric_definition import SUMMARIES, MetricDefinition

RUN = "wandb.sdk.wandb_run"
NOOP = "wandb.sdk.lib.noop_run"
"""The module with the run of `mode="disabled"` in newer versions, whose `log` drops everything."""
INTERNAL = frozenset({"_timestamp", "_runtime", "_wandb", "_step"})


class WandbIntegration(TrackerIntegration):
    """Records what a program logs to wandb."""

    name, title = "wandb", "wandb"

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        super().__init__(sink, settings)
        self._rows: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        """The open row of runs that do not count their rows themselves: the disabled ones."""

    def patches(self) -> Iterable[Patch]:
        """The methods that receive rows, configurations, summaries and files."""
        yield Patch("wandb", "init", self.after(self._begin))
        mode = str(self.settings.get("wandb_sweeps", OFF))
        if mode != OFF:
            sweeps = WandbSweeps(mode, lambda: self.sweeps)
            yield Patch("wandb", "sweep", sweeps.around_sweep, optional=True)
            yield Patch("wandb", "agent", sweeps.around_agent, optional=True)
        yield Patch(RUN, "Run._log", self.taking(self._row))
        yield Patch(NOOP, "NoopRun.log", self.taking(self._disabled_row), optional=True)
        yield Patch(RUN, "Run._config_callback", self.taking(self._config), optional=True)
        yield Patch(RUN, "Run._summary_update_callback", self.taking(self._summary), optional=True)
        yield Patch(RUN, "Run.save", self.taking(self._save), optional=True)
        yield Patch(RUN, "Run.finish", self.taking(self._finish), optional=True)
        yield Patch(RUN, "Run.define_metric", self.taking(self._definition), optional=True)
        yield from self.unrecorded(RUN, {"Run.log_artifact": "artifacts", "Run.watch": "watched models"})

    def _prefix(self, run: Any) -> str:
        return self.prefix(run.id, lambda: str(run.name or run.id))

    def _begin(self, run: Any, *_: Any, **__: Any) -> None:
        self._report_config(run)

    def _report_config(self, run: Any) -> None:
        values = {name: value for name, value in dict(run.config).items() if name not in INTERNAL}
        self.params(self._prefix(run), values)

    def _config(self, run: Any, key: Any = None, val: Any = None, data: Any = None, *_: Any) -> None:
        if data is None and key is not None:
            data = {key if isinstance(key, str) else "/".join(map(str, key)): val}
        found = {name: value for name, value in (data or {}).items() if name not in INTERNAL}
        if found and hasattr(run, "_config"):
            self.params(self._prefix(run), found)

    def _summary(self, run: Any, record: Any, *_: Any) -> None:
        """Summary values that a program sets itself; the last value of each metric is in the summary automatically."""
        self.params(f"{self._prefix(run)}summary/", {"/".join(map(str, i.key)): i.value for i in record.update})

    def _definition(
        self, run: Any, name: Any, step_metric: Any = None, *_: Any, summary: Any = None, goal: Any = None, **__: Any
    ) -> None:
        """The axis and the summary of a metric, and in older versions its goal."""
        prefix = self._prefix(run)
        x = f"{prefix}{getattr(step_metric, 'name', step_metric)}" if step_metric else ""
        self.sink.emit(MetricDefinition(
            time=time.time_ns() // 1000, name=f"{prefix}{name}", x=x, goal=GOALS.get(str(goal), ""),
            summary=summary if summary in SUMMARIES else "", source=self.name,
        ))  # fmt: skip

    def _row(self, run: Any, data: Any, step: Any = None, *_: Any, **__: Any) -> None:
        if not isinstance(data, Mapping):
            return  # wandb raises
        given = as_step(step)
        # Both are wandb's own row counter, in newer and in older versions.
        at = given if given is not None else as_step(getattr(run, "_local_step", getattr(run, "_step", None)))
        self.values(self._prefix(run), _flat(data), at)

    def _disabled_row(self, run: Any, data: Any, step: Any = None, commit: Any = None, *_: Any, **__: Any) -> None:
        if not isinstance(data, Mapping):
            return
        row = self._rows.get(run, 0)
        given = as_step(step)
        at = row if given is None else given
        self._rows[run] = max(row, at) + int(commit if commit is not None else step is None)
        self.values(self._prefix(run), _flat(data), at)

    def _save(self, run: Any, glob_str: Any = None, *_: Any, **__: Any) -> None:
        if isinstance(glob_str, str) and not any(sign in glob_str for sign in "*?["):
            self.file(glob_str)

    def _finish(self, run: Any, *_: Any, **__: Any) -> None:
        self._report_config(run)


def _flat(data: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A row's entries under wandb's own names."""
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif name not in INTERNAL:
            yield name, value
