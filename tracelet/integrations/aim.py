"""Aim: what a program tracks in its runs, and the parameters that it puts into them.

Called on the user's threads around `Run.track` and `Run[...] = ...`. A sequence's context comes before its name,
`train/loss` for `context={"subset": "train"}`. Without a step, Aim counts the points of each sequence, and so do we.
What Aim itself samples (the machine, log records) is left to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tracelet.integrations.base import Sink
from tracelet.integrations.metric_values import as_step
from tracelet.integrations.patching import Patch
from tracelet.integrations.tracker_calls import TrackerIntegration

RUN = "aim.sdk.run"
INTERNAL = "__"
"""How the names begin that Aim keeps for itself."""
SHORT_ID = 8


class AimIntegration(TrackerIntegration):
    """Records what a program gives to Aim."""

    name, title = "aim", "Aim"

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        super().__init__(sink, settings)
        self._counts: Counter[str] = Counter()
        """Points of each sequence, by the name of our series."""

    def patches(self) -> Iterable[Patch]:
        """Where values and parameters arrive."""
        yield Patch(RUN, "BasicRun.track", self.taking(self._track))
        yield Patch(RUN, "BasicRun.__setitem__", self.taking(self._set))
        yield Patch(RUN, "BasicRun.set", self.taking(self._set), optional=True)
        yield from self.unrecorded(RUN, {"BasicRun.log_artifact": "artifacts", "BasicRun.log_artifacts": "artifacts"})

    def _prefix(self, run: Any) -> str:
        return self.prefix(run.hash, lambda: str(run.hash)[:SHORT_ID])

    def _track(
        self, run: Any, value: Any, name: Any = None, step: Any = None, epoch: Any = None, *, context: Any = None
    ) -> None:
        prefix = self._prefix(run)
        where = "".join(f"{part}/" for part in dict(context or {}).values())
        values = value if isinstance(value, Mapping) and name is None else {name: value}
        for key, one in values.items():
            if str(key).startswith(INTERNAL):
                continue
            series, given = f"{prefix}{where}{key}", as_step(step)
            at = self._counts[series] if given is None else given
            self._counts[series] += 1
            self.values("", [(series, one)], at)

    def _set(self, run: Any, key: Any, val: Any, *_: Any, **__: Any) -> None:
        if not str(key).startswith(INTERNAL):
            self.params(self._prefix(run), {str(key): val})
