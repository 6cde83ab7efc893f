"""One run in this process: its parts, started in order and stopped in reverse order.

Created by `active_session`, on the thread that starts or stops the run, at interpreter exit and in forked children.
Every part is guarded: one that fails loses only what it would have recorded.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.util import Finalize
from typing import Any, NamedTuple, Protocol

import msgspec

from tracelet import guard, registry
from tracelet.agent.process.configuration import BackendConfig
from tracelet.agent.session_delivery import SessionDelivery
from tracelet.capture import scalars
from tracelet.capture.clock import now
from tracelet.capture.console import ConsoleCapture
from tracelet.capture.writer import Writer
from tracelet.collectors.scheduler import Scheduler
from tracelet.integrations.base import Integration
from tracelet.integrations.torch_launchers import Launchers, SetRank
from tracelet.journal.records import Started, Status
from tracelet.session import keyboard_interrupt, notebook
from tracelet.session.exit_status import current_exception, exit_status
from tracelet.session.experiment import Experiment
from tracelet.session.job_runs import JobRuns
from tracelet.session.rank_environment import in_worker_process, several_nodes
from tracelet.session.recording_report import LibraryState, explanation, library_states, no_metrics, report
from tracelet.session.resume import CheckpointOrigin
from tracelet.session.run_origin import signed
from tracelet.session.spawned_ranks import Attach, CarriedCounts, LaunchedRankConfig, RankFunction, inherited_settings
from tracelet.session.sweep_trials import SweepTrials
from tracelet.settings import Settings
from tracelet.store.run import Run
from tracelet.telemetry.recording import active_recorder as telemetry
from tracelet.telemetry.recording.training_context import ProcessInfo

FINALIZER_PRIORITY = -1000
"""The priority of multiprocessing's last finalizers, after everything else in the process has ended."""
MIN_CLOSE_TIMEOUT = 1.0
"""Minimum seconds for the disk, whatever the timeout: that is for deliveries, and sealing takes milliseconds."""


class EndSession(Protocol):
    """Ends a session with a status, a reason and a traceback."""

    def __call__(
        self, session: Session, status: str, reason: str = "", trace: str = "", timeout: float | None = None
    ) -> None:
        """End it."""


class SessionCallbacks(NamedTuple):
    """The functions of the owning module that a session calls."""

    end: EndSession
    set_rank: SetRank
    attach: Attach
    follow: Callable[[Session, str, BaseException | None], Session | None]
    """End a session, with an error or without, and start one like it with the next job's name. None if it had ended."""


class Session:
    """One run in this process, from `start_logging()` to `stop_logging()` or the end of the process."""

    def __init__(
        self,
        settings: Settings,
        writer: Writer,
        backend_configs: Sequence[BackendConfig],
        callbacks: SessionCallbacks,
        carried_counts: CarriedCounts,
    ) -> None:
        self.settings = settings
        self.writer = writer
        self._callbacks = callbacks
        self._carried_counts = carried_counts
        self.experiment = Experiment(writer.started, writer.path.parent, writer, self._stop_from_handle)
        self._configure_media(self.experiment)
        self.cell = notebook.current_cell()
        self._parts: list[tuple[str, Any]] = []
        self._last_error = getattr(sys, "last_value", None)
        self._error: BaseException | None = None
        self._abandoned = self._nodes_searched = False
        self._ending: Status | None = None
        sampled = list(registry.COLLECTORS.values()) if settings.track_system else []
        self.delivery = SessionDelivery(settings, writer.started, writer.path, backend_configs, sampled, several_nodes)
        self.adoptable: frozenset[str] | None = None
        """If set: the script may still change this run's name and settings, except these from the command line."""
        self.asked_by_command: frozenset[str] | None = None
        """The same for the duration of the run; None if the program started it."""
        self.base_name = ""
        """The name that the runs of several jobs share."""

    def start(self) -> None:
        """Start everything that records automatically."""
        atexit.register(self._at_exit)
        if in_worker_process():
            Finalize(None, self._at_exit, exitpriority=FINALIZER_PRIORITY)  # such a process runs no atexit functions
        self.delivery.start()
        if self.settings.track_console:
            self._start_part("listening to the console", lambda: ConsoleCapture(self.writer))
        if self.settings.track_spans:
            self._start_part("recording spans", self._telemetry)
        self._start_collectors()
        for name, reference in registry.INTEGRATIONS.items():
            if self.settings[f"track_{name}"]:
                self._start_part(
                    f"tracking {name}", lambda name=name, reference=reference: self._integration(name, reference)
                )
        self._start_part("following ranks", lambda: Launchers(self._wrap_rank_function, self._callbacks.set_rank))
        if notebook.shell() is not None and not self.settings.quiet:
            self._start_part("showing the run in the notebook", lambda: notebook.StatusPanel(self.writer))

    def _telemetry(self) -> Any:
        started = self.writer.started
        return telemetry.Telemetry(self.writer, self.settings, _process_info(started), lambda: self._error)

    def _integration(self, name: str, reference: str) -> Any:
        integration = registry.load(reference)(self.writer, self.settings)
        integration.folder, integration.runs = self.experiment.folder, JobRuns(self, self._callbacks.follow)
        integration.sweeps = SweepTrials(integration.runs)
        integration.watch_resumes(self._trace_checkpoint)
        if name in self._carried_counts:
            integration.restore_counts(self._carried_counts[name])
        return integration

    def _trace_checkpoint(self, checkpoint: str) -> None:
        """Find the run that wrote the checkpoint from which this one resumes, in the background."""
        self._start_part(
            "tracing a checkpoint", lambda: CheckpointOrigin(self.experiment.folder, checkpoint, self._set_origin)
        )

    def _set_origin(self, run: str) -> None:
        self.update_started(msgspec.structs.replace(self.writer.started, resumed_from=run))

    def rank_config(self, count: int) -> LaunchedRankConfig:
        """The configuration with which `count` launched processes record as ranks of this run."""
        parts = [part for _, part in self._parts]
        carried_counts = {part.name: part.launch_counts() for part in parts if isinstance(part, Integration)}
        return LaunchedRankConfig(
            self.experiment.folder.absolute(), self.writer.path.name, self.writer.started,
            inherited_settings(self.settings), carried_counts, count,
        )  # fmt: skip

    def _wrap_rank_function(self, function: Any, count: int) -> Any:
        if isinstance(function, RankFunction):
            return function
        return RankFunction(function, self.rank_config(count), self._callbacks.attach)

    def find_nodes(self) -> None:
        """The ranks are connected now: find the other nodes, once."""
        if not self._nodes_searched:
            self._nodes_searched = True
            rendezvous = self.delivery.rendezvous(self.writer.started.rank)
            if rendezvous is not None:
                self._start_part("meeting the other nodes", lambda: rendezvous)

    def _start_collectors(self) -> None:
        wanted = [row for name, row in registry.FACT_COLLECTORS.items() if self.settings[f"track_{name}"]]
        facts = _load_all(wanted)
        periodic = _load_all(registry.COLLECTORS.values()) if self._samples_machine() else []
        if facts or periodic:
            interval = self.settings.metrics_interval
            self._start_part("collecting", lambda: Scheduler(periodic, self.writer.emit, interval, facts=facts))

    def _samples_machine(self) -> bool:
        return (
            bool(self.settings.track_system)
            and self.writer.started.local_rank == 0
            and not self.delivery.samples_system
        )

    def _start_part(self, what: str, make: Any) -> None:
        with guard.guard(what):
            part = make()
            part.start()
            self._parts.append((what, part))

    def stop(self, status: str, reason: str = "", trace: str = "", timeout: float | None = None) -> None:
        """Stop all parts, last started first, and seal the journal. A second call completes the first one with the
        first one's arguments: a Ctrl-C may have interrupted it.
        """
        if self._abandoned:
            return
        seconds = self._timeout(timeout)
        if self._ending is None:
            self._ending = Status(time=now(), status=status, reason=reason, traceback=trace)
        states = self._library_states()
        while self._parts:
            what, part = self._parts.pop()
            with guard.guard(f"stopping {what}"):
                part.stop()
        self.experiment.close_media(max(seconds, MIN_CLOSE_TIMEOUT))
        self.writer.close(self._ending, max(seconds, MIN_CLOSE_TIMEOUT))
        atexit.unregister(self._at_exit)  # not before: after a Ctrl-C in here, the exit handler does the rest
        self._report(states)

    def _library_states(self) -> Sequence[LibraryState]:
        """What `--explain` and a run without metrics report; empty where nothing is to be reported."""
        asked = self.asked_by_command is not None or "torch" in sys.modules
        if self.writer.started.rank or not (self.settings.explain or (asked and not self.settings.quiet)):
            return ()
        if not self.settings.explain and self.writer.has_metrics:
            return ()
        with guard.guard("looking at what was patched"):
            return library_states(part for _, part in self._parts if isinstance(part, Integration))
        return ()

    def _report(self, states: Sequence[LibraryState]) -> None:
        with guard.guard("reporting what was recorded"):
            if self.settings.explain and states:
                report(explanation(Run(self.experiment.folder), states))
            elif states and not self.writer.has_metrics:
                report(no_metrics(Run(self.experiment.folder), states))

    def _timeout(self, timeout: float | None) -> float:
        return float(self.settings.stop_timeout) if timeout is None else timeout

    def wait_for_delivery(self, started_at: float, timeout: float | None) -> None:
        """Wait for the rest of the delivery, at most until `timeout` seconds after `started_at`."""
        self.delivery.finish(started_at + self._timeout(timeout))

    def adopt_handle(self, handle: Experiment) -> None:
        """Make a handle that the program already holds the handle of this session."""
        Experiment.__init__(handle, self.writer.started, self.experiment.folder, self.writer, self._stop_from_handle)
        self.experiment = handle
        self._configure_media(handle)

    def _configure_media(self, handle: Experiment) -> None:
        handle.media_megabytes = self.settings.media_memory
        handle.next_media_steps = self.writer.next_media_steps

    def update_started(self, started: Started) -> None:
        """Replace the first record by a more complete one."""
        started = signed(started)
        self.writer.started = self.experiment._started = started
        self.writer.emit(started)
        job = telemetry.job()
        if job is not None:
            job.process = _process_info(started)

    def _stop_from_handle(self, timeout: float | None = None, error: BaseException | None = None) -> None:
        self.end_with(error, scalars.checked_timeout(timeout))

    def _at_exit(self) -> None:
        """The process ends without `stop_logging()`: an uncaught exception is the reason, if there was one."""
        error = current_exception() or getattr(sys, "last_value", None)
        if error is self._last_error or hasattr(sys, "ps1"):
            error = self.cell_error()
        self.end_with(error, None if self.cell is None else notebook.EXIT_TIMEOUT)
        if isinstance(error, KeyboardInterrupt) and self.cell is None:  # a kernel has ended for another reason
            keyboard_interrupt.restore_interrupt_flag()

    def cell_error(self) -> BaseException | None:
        """In a notebook: the exception raised by the cell that started the run."""
        return notebook.error_from_cell(self.cell, self._last_error)

    def end_with(self, error: BaseException | None, timeout: float | None) -> None:
        """End the run with this exception, or without one."""
        self._error = error
        self._callbacks.end(self, *exit_status(error, self.writer.expected), timeout=timeout)

    def detach(self) -> None:
        """In a forked child: become inert without touching what the parent still uses."""
        self._abandoned = True
        atexit.unregister(self._at_exit)
        telemetry.clear()
        self.writer.discard()

    def unpatch(self) -> None:
        """In a forked child that records itself: revert the parent's patches."""
        while self._parts:
            what, part = self._parts.pop()
            with guard.guard(f"leaving the parent's {what}"):
                part.stop()


def _process_info(started: Started) -> ProcessInfo:
    return ProcessInfo(started.rank, started.world_size, started.host, started.run, started.name)


def _load_all(references: Iterable[str]) -> list[Any]:
    """One object for each row that can be imported."""
    made: list[Any] = []
    for reference in references:
        with guard.guard(f"loading {reference}"):
            made.append(registry.load(reference)())
    return made
