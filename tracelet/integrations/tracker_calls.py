"""Base of the integrations for other trackers: records the values that a program reports to a tracker.

The wrappers run on the user's threads. The tracker is called with unchanged arguments and stores the same as without
us. Our own couriers may use the same SDK in this process (`delivery="inline"`): their calls are never recorded. The run
records that it has such a source, so that it is not delivered back to it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tracelet.capture.parameter_values import to_scalar
from tracelet.guard import guard
from tracelet.integrations.base import Integration, Sink
from tracelet.integrations.metric_values import as_metric
from tracelet.integrations.nested_calls import in_recorded_call, recorded_call
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.reported_params import ReportedParams
from tracelet.integrations.run_prefixes import RunPrefixes
from tracelet.integrations.saved_files import size_of
from tracelet.integrations.unrecorded import Unrecorded
from tracelet.journal.records import Artifact, Event
from tracelet.store.source_trackers import SOURCE_TRACKER

OURS = "tracelet-"
"""The prefix of the names of our own threads."""
MAX_COPIED = 20 * 2**20
"""Maximum bytes of a file that is copied into the run; a larger one, or a folder, is recorded by its path."""


class TrackerIntegration(Integration):
    """The base class of integrations for trackers: several runs, parameters, texts, files, and data that is not
    recorded.
    """

    title = ""
    """The tracker's usual spelling."""

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        super().__init__(sink, settings)
        self._prefixes = RunPrefixes(sink, f"{self.title} run")
        self._params: dict[str, ReportedParams] = {}
        self._unrecorded = Unrecorded(sink, self.title)
        self._reported = False

    def start(self) -> None:
        """Patch the tracker, unless our own delivery may use it in this process."""
        if self.settings.get("delivery") == "inline" and self.name in str(self.settings.get("backend")).split(","):
            return
        super().start()

    def stop(self) -> None:
        """Revert everything."""
        super().stop()
        self._unrecorded.close()

    def taking(self, take: Callable[..., None]) -> Callable[[Function], Function]:
        """A wrapper that passes the arguments of a call to `take`, unless they are recorded already or are our own."""

        def around(original: Function) -> Function:
            def method(*args: Any, **kwargs: Any) -> Any:
                if self._is_foreign():
                    return original(*args, **kwargs)
                with guard(f"recording what {self.title} is given"):
                    take(*args, **kwargs)
                with recorded_call:
                    return original(*args, **kwargs)

            return method

        return around

    def after(self, take: Callable[..., None]) -> Callable[[Function], Function]:
        """A wrapper that passes the result of a call to `take`, before its arguments."""

        def around(original: Function) -> Function:
            def method(*args: Any, **kwargs: Any) -> Any:
                result = original(*args, **kwargs)
                if not self._is_foreign():
                    with guard(f"recording what {self.title} is given"):
                        take(result, *args, **kwargs)
                return result

            return method

        return around

    def _is_foreign(self) -> bool:
        """Whether this call is not the program's own, or is made where nothing is recorded."""
        if in_recorded_call() or threading.current_thread().name.startswith(OURS):
            return True
        return self._unrecorded.in_forked_child()

    def _report_source(self) -> None:
        if not self._reported:
            self._reported = True
            self.sink.emit(Event(time=time.time_ns() // 1000, name=SOURCE_TRACKER, attributes={"library": self.name}))

    def prefix(self, identity: Hashable, label: Callable[[], str]) -> str:
        """The prefix for the names of one of the tracker's runs; `label` is called once."""
        known = self._prefixes.known(identity)
        return known if known is not None else self._prefixes.prefix(identity, label())

    def values(
        self, prefix: str, values: Iterable[tuple[str, Any]], step: int | None, seconds: float | None = None
    ) -> None:
        """One point per number, one event per string; anything else is reported as not recorded."""
        now = time.time() if seconds is None else seconds
        for name, value in values:
            metric = as_metric(value)
            if metric is not None:
                self._report_source()
                self.sink.emit((f"{prefix}{name}", step, metric, now))
            elif isinstance(value, str):
                attributes = {"tag": f"{prefix}{name}", "step": step, "text": to_scalar(value)}
                self.sink.emit(Event(time=int(now * 1e6), name="text", attributes=attributes))
            elif value is not None:
                self._unrecorded.report(f"values of type {type(value).__name__}")

    def params(self, prefix: str, values: Any) -> None:
        """Record the parameters that have changed."""
        self._params.setdefault(prefix, ReportedParams(self.sink, self.name)).report(values, prefix)

    def file(self, path: Any, name: str | None = None) -> None:
        """Copy a small file into the run; record a folder or a large file by its path."""
        place = os.path.abspath(os.fspath(path))
        size = size_of(place)
        if os.path.isfile(place) and size <= MAX_COPIED:
            self.keep(place, name)
        elif os.path.exists(place):
            self.sink.emit(Artifact(
                time=time.time_ns() // 1000, name=name or Path(place).name, path=place, size=size,
                kind="folder" if os.path.isdir(place) else "file",
            ))  # fmt: skip

    def unrecorded(self, module: str, kinds: Mapping[str, str]) -> Iterable[Patch]:
        """Patches of methods whose data is not recorded: method to kind."""
        for target, kind in kinds.items():
            yield Patch(
                module, target, self.taking(lambda *_, kind=kind, **__: self._unrecorded.report(kind)), optional=True
            )
