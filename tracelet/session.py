"""The conductor: starts a run's parts in order, stops them in the opposite order, and knows how the process ended.

Called on the user's threads, at interpreter exit, and in forked children. There is one active session in a process.
Starting writes the run's first record before anything else; after that every part is guarded, so that a part of ours
that fails costs what it would have recorded and nothing else. No signal handler, hook or environment variable is
touched.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tracelet import adoption, guard, interruption, registry
from tracelet._version import __version__
from tracelet.agent.dispatch import Dispatch
from tracelet.agent.orders import Posting
from tracelet.collectors.scheduler import Scheduler
from tracelet.destinations import without_credentials
from tracelet.errors import AlreadyActive, StoreError
from tracelet.experiment import Experiment
from tracelet.identity import Identity, identify, in_worker_process
from tracelet.journal import create_next
from tracelet.masking import mask_arguments
from tracelet.records import FAILED, FINISHED, INTERRUPTED, PREEMPTED, Started, Status
from tracelet.settings import Settings
from tracelet.store import STORE_NAME, prepare
from tracelet.telemetry import active as telemetry
from tracelet.telemetry.job import Place
from tracelet.writer import Mute, Writer, now

_lock = threading.RLock()
_current: Session | None = None
_started_here = 0
"""Runs started by this process so far: the nth run of every rank of a launch is the same run."""
_inherited: Session | None = None
"""In a forked child: the parent's session, which must not be written to."""
_muted: Experiment | None = None
"""The handle given out when nothing is recorded: switched off, or in a worker process."""
_hooked_fork = False


class Session:
    """One run in this process, from `start_logging()` to `stop_logging()` or the end of the process."""

    def __init__(self, settings: Settings, writer: Writer, postings: Sequence[Posting]) -> None:
        self.settings = settings
        self.writer = writer
        self.experiment = Experiment(writer.started, writer.path.parent, writer, self._stop_from_handle)
        self._parts: list[tuple[str, Any]] = []
        self._last_error = getattr(sys, "last_value", None)
        self._error: BaseException | None = None
        self._stopped = False
        sampled = list(registry.COLLECTORS.values()) if settings.track_system else []
        self.dispatch = Dispatch(settings, writer.started, writer.path, postings, sampled)
        self.adoptable: frozenset[str] | None = None
        """While set: the script may still make this run its own, but for these settings of the command line."""

    def start(self) -> None:
        """Bring up everything that records by itself."""
        atexit.register(self._at_exit)
        self.dispatch.start()
        if self.settings.track_spans:
            self._add("recording spans", self._telemetry)
        self._start_collectors()
        for name, reference in registry.INTEGRATIONS.items():
            if self.settings[f"track_{name}"]:
                self._add(f"tracking {name}", lambda reference=reference: self._integration(reference))

    def _telemetry(self) -> Any:
        started = self.writer.started
        place = Place(started.rank, started.world_size, started.host, started.run, started.name)
        return telemetry.Telemetry(self.writer, self.settings, place, lambda: self._error)

    def _integration(self, reference: str) -> Any:
        return registry.load(reference)(self.writer, self.settings)

    def _start_collectors(self) -> None:
        wanted = [row for name, row in registry.FACT_COLLECTORS.items() if self.settings[f"track_{name}"]]
        facts = _made(wanted)
        periodic = _made(registry.COLLECTORS.values()) if self._samples_machine() else []
        if facts or periodic:
            interval = self.settings.metrics_interval
            self._add("collecting", lambda: Scheduler(periodic, self.writer.emit, interval, facts=facts))

    def _samples_machine(self) -> bool:
        return bool(self.settings.track_system) and self.writer.started.local_rank == 0 and not self.dispatch.samples

    def _add(self, what: str, make: Any) -> None:
        with guard.guard(what):
            part = make()
            part.start()
            self._parts.append((what, part))

    def stop(self, status: str, reason: str = "", trace: str = "", timeout: float | None = None) -> None:
        """Stop all parts, last started first, and seal the journal. A second call waits for what the first began."""
        patience = self._patience(timeout)
        if self._stopped:
            self.writer.wait(patience)
            return
        self._stopped = True
        while self._parts:
            what, part = self._parts.pop()
            with guard.guard(f"stopping {what}"):
                part.stop()
        self.writer.close(Status(time=now(), status=status, reason=reason, traceback=trace), patience)
        atexit.unregister(self._at_exit)  # not before: after a Ctrl-C in here, the exit finishes what is left

    def _patience(self, timeout: float | None) -> float:
        return float(self.settings.stop_timeout) if timeout is None else timeout

    def deliver(self, began: float, timeout: float | None) -> None:
        """Wait for what is not delivered yet; the stop that `began` then takes no longer than `timeout` in all."""
        self.dispatch.finish(began + self._patience(timeout))

    def _stop_from_handle(self, timeout: float | None = None, error: BaseException | None = None) -> None:
        self._error = error
        _end(self, *_outcome(error, self.writer.expected), timeout=timeout)

    def _at_exit(self) -> None:
        """The process ends without `stop_logging()`: an uncaught exception is the reason, if there was one."""
        error = getattr(sys, "last_value", None)
        if error is self._last_error or hasattr(sys, "ps1"):
            error = None
        self._error = error
        _end(self, *_outcome(error, self.writer.expected))
        if isinstance(error, KeyboardInterrupt):
            interruption.remind()

    def abandon(self) -> None:
        """In a forked child: become inert without touching what the parent goes on using."""
        self._stopped = True
        atexit.unregister(self._at_exit)
        telemetry.forget()
        self.writer.abandon()


def start(settings: Settings, backends: Mapping[str, dict[str, Any]]) -> Experiment:
    """Start the run of this process, or hand out the one that is active if it was asked for again."""
    global _current, _hooked_fork, _muted
    with _lock:
        if _current is not None:
            return _same_again(_current, settings, backends)
        if _inherited is not None:
            return _inherited.experiment
        if not settings.enabled or in_worker_process():
            _muted = _mute(settings)
            return _muted
        postings = registry.postings(backends)
        guard.reset()
        _muted = None
        _current = Session(settings, _open_writer(settings, without_credentials(backends)), postings)
        _current.start()
        if not _hooked_fork:
            os.register_at_fork(after_in_child=_in_forked_child)
            _hooked_fork = True
        _announce(_current)
        return _current.experiment


def stop(timeout: float | None = None) -> None:
    """Stop the active run as finished; does nothing when there is none."""
    session = _current
    if session is not None:
        _end(session, FINISHED, timeout=timeout)
    _unmute()


def _unmute(**_: object) -> None:
    global _muted
    _muted = None


def active() -> Experiment | None:
    """The active run's handle. In a forked child that is the parent's, which takes everything and keeps nothing."""
    session = _current or _inherited
    return session.experiment if session is not None else _muted


def _end(session: Session, status: str, reason: str = "", trace: str = "", timeout: float | None = None) -> None:
    global _current
    began = time.monotonic()
    with _lock:
        if _current is session:
            _current = None
        session.stop(status, reason, trace, timeout)
    session.deliver(began, timeout)


def _outcome(error: BaseException | None, expected: tuple[str, str]) -> tuple[str, str, str]:
    """(status, reason, traceback) of a run that ends because of `error`, or without one."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        status, reason = expected
        return status or FINISHED, reason, ""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    reason = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "Ctrl-C", trace
    if type(error).__name__ == "SIGTERMException":  # Lightning's, known by name: Lightning may not be installed
        return PREEMPTED, "SIGTERM", trace
    if isinstance(error, SystemExit) and expected[0]:
        return expected[0], expected[1], trace
    return FAILED, reason, trace


def await_script(given: frozenset[str]) -> None:
    """The active run was started for a script that may still say what it is: see `tracelet.adoption`."""
    if _current is not None:
        _current.adoptable = given


def _adopt(session: Session, settings: Settings, backends: Mapping[str, dict[str, Any]]) -> Experiment:
    given, session.adoptable = session.adoptable or frozenset(), None
    started = adoption.adopted(session.writer.started, settings, without_credentials(backends), given)
    if "backend" not in given:
        session.dispatch.add(registry.postings(backends))
    adoption.tell_late(session.settings, settings, given)
    if started != session.writer.started:
        session.writer.started = session.experiment._started = started
        session.writer.emit(started)
    return session.experiment


def _same_again(session: Session, settings: Settings, backends: Mapping[str, dict[str, Any]]) -> Experiment:
    """A second `start_logging()`: fine if it asks for the run that is active, an error if it asks for another one."""
    if session.adoptable is not None:
        return _adopt(session, settings, backends)
    experiment = session.experiment
    for key, active_value in (("experiment_name", experiment.name), ("project", experiment.project)):
        asked = settings[key]
        if settings.sources[key] == "arguments" and asked != active_value:
            raise AlreadyActive(
                f"the run {experiment.name!r} ({experiment.id}) is active and goes on; {key} {asked!r} asks for "
                "another. "
                "Type tracelet.stop_logging() before it, or use `with tracelet.start_logging(...):`."
            )
    return experiment


def _open_writer(settings: Settings, backends: Mapping[str, dict[str, Any]]) -> Writer:
    """Make this process's journal in the run's folder, which another rank may have made already."""
    global _started_here
    identity = identify()
    run = identity.run_id(_started_here)
    try:
        folder = prepare(settings.dir) / run
        folder.mkdir(exist_ok=True)
        journal, attempt = create_next(folder, f"rank-{identity.rank}")
        writer = Writer(journal, _started(settings, identity, run, attempt, backends), settings.flush_interval)
        writer.start()
    except OSError as error:
        raise StoreError(
            f"the run cannot be recorded in {settings.dir or STORE_NAME} ({error.strerror or error}); nothing was "
            "started. Free space, or name another folder: TRACELET_DIR=/some/folder"
        ) from error
    _started_here += 1
    return writer


def _made(references: Iterable[str]) -> list[Any]:
    """One object for each row that can be loaded."""
    made: list[Any] = []
    for reference in references:
        with guard.guard(f"loading {reference}"):
            made.append(registry.load(reference)())
    return made


def _started(
    settings: Settings, identity: Identity, run: str, attempt: int, backends: Mapping[str, dict[str, Any]]
) -> Started:
    return Started(
        run=run, name=settings.experiment_name or _script_name(), project=settings.project, time=now(),
        host=identity.host, pid=identity.pid, process_started=identity.process_started, rank=identity.rank,
        local_rank=identity.local_rank, node_rank=identity.node_rank, world_size=identity.world_size, attempt=attempt,
        command=mask_arguments(sys.orig_argv), folder=os.getcwd(), version=__version__, backends=dict(backends),
    )  # fmt: skip


def _script_name() -> str:
    script = sys.argv[0] if sys.argv else ""
    return Path(script).stem if script not in ("", "-c", "-m") else "python"


def _mute(settings: Settings) -> Experiment:
    """A handle that records nothing: tracking is switched off, or this is a worker of the process that records."""
    started = Started(run="", name=settings.experiment_name, project=settings.project, time=now(), host="", pid=0)
    return Experiment(started, Path(), Mute(), _unmute)


def _announce(session: Session) -> None:
    if session.settings.quiet or session.writer.started.rank:
        return
    experiment = session.experiment
    with guard.guard("saying where the run is recorded"):
        folder = experiment.folder.parent.parent
        print(f"tracelet: recording {experiment.name!r} as {experiment.id} in {folder}", file=sys.stderr)


def _in_forked_child() -> None:
    """The child of a fork shares our memory and our file, and must use neither."""
    global _current, _inherited, _lock
    _lock = threading.RLock()  # the parent's may have been held by a thread that does not exist here
    if _current is not None:
        _inherited, _current = _current, None
        with guard.guard("letting go of the run in a forked child"):
            _inherited.abandon()
