"""The handle that `start_logging()` returns: the API by which a program logs to its run.

Every method may be called from any thread, costs microseconds and does no I/O (except for artifacts). Invalid arguments
raise at the call; after the end of the run, and in forked children, calls do nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tracelet.capture import parameters
from tracelet.capture.alerts import alert_event
from tracelet.capture.clock import now
from tracelet.capture.loggable_values import loggable, no_metrics
from tracelet.capture.metric_definitions import checked_definition
from tracelet.capture.null_buffers import NullWriter
from tracelet.capture.record_size import split_values
from tracelet.capture.sanitize import INT64_MAX, INT64_MIN
from tracelet.capture.scalars import checked_value
from tracelet.capture.sink import SeriesGroup
from tracelet.capture.statement import calling_statement
from tracelet.capture.step_numbers import checked_step
from tracelet.capture.tags import checked_tags
from tracelet.capture.writer import WAKE_AT, WAKE_MASK, Writer
from tracelet.errors import ArtifactNotFound, InvalidMetric
from tracelet.guard import say
from tracelet.journal.records import Notice, Params, Started, Tags
from tracelet.session.media_logging import MediaLogging
from tracelet.store import artifacts, delivery_state

_clock = time.time
ONLY_STR = {str}
MAX_REPORTED = 100
"""Names of values that are reported; a program may make up ever new ones."""
MAX_GROUPS = 1000
"""Different sets of metrics that are remembered; a program that keeps logging new names must not fill the memory."""


class _WithBlocks(threading.local):
    """The `with` blocks of one run that a thread is in."""

    def __init__(self) -> None:
        self.reentered = False
        """Whether the thread asked for a run that was active already and has not entered a block since."""
        self.ends_run: list[bool] = []
        """Whether each block ends the run, the innermost last."""


class Experiment(MediaLogging):
    """One run, as the recorded program sees it. Also a context manager that stops the run at its end, unless it
    encloses a later `start_logging()` or is nested in another block of the run.
    """

    def __init__(self, started: Started, folder: Path, writer: Writer | NullWriter, stop: Callable[..., None]) -> None:
        super().__init__(folder, writer)
        self._started = started
        self._stop = stop
        self._groups: dict[tuple[str, ...], SeriesGroup] = {}
        self._with_blocks = _WithBlocks()
        self._refused: set[str] = set()  # names of values that were no metrics, each reported once
        self._end_block_entered = False
        """Whether the block that ends the run has been entered."""

    @property
    def id(self) -> str:
        """The run's id: `tracelet show ID`."""
        return self._started.run

    @property
    def name(self) -> str:
        """The run's name, as given to `start_logging()`."""
        return self._started.name

    @property
    def project(self) -> str:
        """The project that the run belongs to."""
        return self._started.project

    @property
    def folder(self) -> Path:
        """The run's folder in the store."""
        return self._folder

    @property
    def sink(self) -> Writer | NullWriter:
        """Where what the program says goes."""
        return self._writer

    @property
    def url(self) -> str:
        """The run's address: the first backend's page once known, else the run's folder as a URI."""
        return next(iter(self.urls.values()), self._folder.absolute().as_uri())

    @property
    def urls(self) -> dict[str, str]:
        """Backend name to the address of the run there, for the backends that have answered so far."""
        return {delivery.backend: delivery.url for delivery in delivery_state.read_all(self._folder) if delivery.url}

    def log_metric(self, name: str, value: Any, step: int | None = None, *, iteration: int | None = None) -> None:
        """Record one point.

        `value`: a number or a tensor of one element on any device (never waited for). `step`: an integer; without one,
        the metric's last step plus one. `iteration` is another name for `step`. Raises `InvalidMetric`.
        """
        if type(value) is not float or type(name) is not str or not name:
            value = checked_value(name, value)
            name = str.__str__(name)  # numpy's strings and enum members are metrics with these names
        if step is not None and (type(step) is not int or not INT64_MIN <= step <= INT64_MAX):
            step = checked_step(name, step)
        if step is None:
            step = self._iteration if iteration is None else checked_step(name, iteration)
        items = self._writer.items
        items.append((name, step, value, _clock()))
        if len(items) > WAKE_AT and not len(items) & WAKE_MASK:
            self._writer.apply_backpressure()

    def log(self, values: Any, step: int | None = None) -> None:
        """Record numbers and media, nested names joined with `/`. Reports other values once; never raises."""
        found = loggable(values, self._recognized)
        refused = {name: kind for name, kind in found.refused.items() if name not in self._refused}
        if refused and len(self._refused) < MAX_REPORTED:
            self._refused.update(refused)
            self._report(no_metrics(refused))
        try:
            self.log_metrics(found.metrics, step)
            for name, media in found.media.items():
                self._log_found(name, media, self._iteration if step is None else checked_step("", step))
        except InvalidMetric as error:
            message = f"log(): {error}"
            if message not in self._refused and len(self._refused) < MAX_REPORTED:
                self._refused.add(message)
                self._report(message)

    def _report(self, message: str) -> None:
        say(f"{message}. The training and all other values are not affected.")
        self._writer.emit(Notice(time=now(), code="metric", message=message, count=1))

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record one point of each metric, all at the same step; see `log_metric`. Records all of them or none."""
        if not hasattr(metrics, "items"):
            raise InvalidMetric(
                f"metrics are a {type(metrics).__name__}, not a mapping of names to numbers; nothing was recorded. "
                "E.g. log_metrics({'loss': 0.5}, step=3)"
            )
        checked_values = [
            value if type(value) is float and type(name) is str and name else checked_value(name, value)
            for name, value in metrics.items()
        ]
        at = self._iteration if step is None else checked_step("", step)
        names, seconds = tuple(metrics), _clock()
        if set(map(type, names)) != ONLY_STR:
            names = tuple(map(str.__str__, names))
        if at is not None and checked_values:
            self._writer.emit((self._group(names), at, checked_values, seconds, None))
        else:
            for name, value in zip(names, checked_values):
                self._writer.emit((name, at, value, seconds))

    def _group(self, names: tuple[str, ...]) -> SeriesGroup:
        """The same group for the same names, unless a program keeps logging new ones."""
        group = self._groups.get(names)
        if group is None:
            group = SeriesGroup(names)
            if len(self._groups) < MAX_GROUPS:
                self._groups[names] = group
        return group

    def log_params(self, params: Any) -> None:
        """Record hyperparameters; nested mappings are joined with `/`, a later value replaces an earlier one.

        `params`: a mapping, a namespace or a dataclass. Raises `InvalidArgument`.
        """
        values, place = parameters.checked_params(params), calling_statement()
        for part in split_values(values):
            self._writer.emit(Params(time=now(), values=part, fit=self._writer.fits.current(), place=place))
        self._warn_if_ended("parameter", values)

    def log_hyperparameter(self, name: str, value: Any) -> None:
        """Record one hyperparameter."""
        self.log_params({name: value})

    def define_metric(
        self, name: str, goal: str | None = None, x: str | None = None, summary: str | None = None
    ) -> None:
        """State what metrics are like: see `tracelet.define_metric`. Raises `InvalidArgument`."""
        self._writer.emit(checked_definition(name, goal, x, summary))
        self._warn_if_ended("definition of", [name])

    def alert(self, title: str, text: str = "", level: str = "info") -> None:
        """Record an alert: see `tracelet.alert`. Raises `InvalidArgument`."""
        self._writer.emit(alert_event(title, text, level))
        self._warn_if_ended("alert", [title])

    def set_tags(self, tags: Mapping[str, Any] | Iterable[str]) -> None:
        """Set tags of the run: name to string, or names. None or an empty string removes one. Raises
        `InvalidArgument`.
        """
        values = checked_tags(tags)
        for part in split_values(values):
            self._writer.emit(Tags(time=now(), values=part))
        self._warn_if_ended("tag", values)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None, kind: str | None = None) -> None:
        """Copy a file or a folder, in its current state, into the run. `kind`: any word, such as `plot` or `model`.

        Copies on the calling thread, streaming. Raises `ArtifactNotFound`; a disk error is reported, not raised.
        """
        if not self._writer.recording:
            self._warn_if_ended("artifact", [str(path)])
            return
        try:
            self._writer.emit(artifacts.store_artifact(self._folder, path, name, kind, now()))
        except ArtifactNotFound:
            raise
        except OSError as error:
            message = f"the artifact {os.fspath(path)!r} was not stored ({error.strerror or error})"
            say(f"{message}. The training continues; {artifacts.fix_for(error)} and log it again.")
            self._writer.emit(Notice(time=now(), code="artifact", message=message, count=1))

    def log_file_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """The same as `log_artifact` for one file."""
        self.log_artifact(path, name, "file")

    def set_iteration(self, iteration: int | None) -> None:
        """Set the step of all metrics that are logged without one from now on; None returns to a count per metric."""
        self._iteration = checked_step("", iteration)

    def flush(self) -> None:
        """Write everything logged so far to the journal before returning."""
        self._flush_media()
        self._writer.flush()

    def stop(self, timeout: float | None = None) -> None:
        """End the run; the same as `tracelet.stop_logging(timeout)` while this run is the active one."""
        self._stop(timeout=timeout)

    def reenter(self) -> Experiment:
        """The handle for a caller that asked for an already active run: its `with` does not end that run."""
        self._with_blocks.reentered = True
        return self

    def __enter__(self) -> Experiment:
        ends = not self._end_block_entered and not self._with_blocks.reentered
        self._end_block_entered, self._with_blocks.reentered = self._end_block_entered or ends, False
        self._with_blocks.ends_run.append(ends)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ends_run = self._with_blocks.ends_run
        # Empty if the block was entered on another thread, or before a rank had its run.
        if not ends_run or ends_run.pop():
            self._stop(error=error)

    def __copy__(self) -> Experiment:
        return self  # a handle refers to a run; a copied model, or an averaged one, still refers to the same run

    def __deepcopy__(self, memo: dict[int, Any]) -> Experiment:
        return self

    def __reduce__(self) -> tuple[Callable[[Started], Experiment], tuple[Started]]:
        return _unpickled, (self._started,)

    def __repr__(self) -> str:
        return f"<tracelet.Experiment {self.name!r} {self.id} in {self._folder}>"


def _unpickled(started: Started) -> Experiment:
    """In another process a handle becomes that process's own handle of the run, or one that records nothing."""
    session = sys.modules.get("tracelet.session.active_session")
    active: Experiment | None = session.active() if session is not None else None
    if active is not None and active.id == started.run:
        return active
    return Experiment(started, Path(), NullWriter(), lambda **_: None)
