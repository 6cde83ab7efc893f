"""The one active session of this process: starts it, returns its handle, and ends it with a status.

Called on the user's threads, at interpreter exit, and in forked children. Starting writes the run's first record before
anything else; after that every part is guarded, so that a failure of ours loses only what that part would have
recorded. Touches no signal handler, hook or environment variable.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tracelet import guard, registry
from tracelet.agent.process.configuration import BackendConfig
from tracelet.capture import scalars
from tracelet.capture.clock import now
from tracelet.capture.writer import NullWriter
from tracelet.errors import AlreadyActive
from tracelet.integrations import patching
from tracelet.integrations.torch_launchers import group_place
from tracelet.journal.records import FINISHED, Started
from tracelet.session import notebook, repeated_start, resume
from tracelet.session.backend_arguments import without_credentials
from tracelet.session.experiment import Experiment
from tracelet.session.rank_environment import in_worker_process, is_daemon, launched_index
from tracelet.session.session import Session, SessionCallbacks
from tracelet.session.spawned_ranks import LaunchedRankConfig
from tracelet.settings import Settings

ADOPTION_TIMEOUT = 2.0
"""Seconds that a script's `start_logging()` under `tracelet run` waits for its name to be in the journal."""
_lock = threading.RLock()
_current: Session | None = None
_started_here = 0
"""Runs started by this process so far: the nth run of every rank of a launch is the same run."""
_inherited: Session | None = None
"""In a forked child: the parent's session, which must not be written to."""
_disabled: Experiment | None = None
"""The handle returned when nothing is recorded: disabled, or in a worker process."""
_fork_hook_registered = False


def start(settings: Settings, backends: Mapping[str, dict[str, Any]]) -> Experiment:
    """Start the run of this process, or return the active one if the call asks for it again."""
    global _disabled, _started_here
    with _lock:
        if _current is not None and not _cell_was_rerun(_current):
            return _repeated_start(_current, settings, backends)
        if _inherited is not None:
            return _inherited.experiment.reenter()
        if not settings.enabled or (in_worker_process() and not _is_rank()):
            if _disabled is not None:
                return _disabled.reenter()
            _disabled = _disabled_experiment(settings)
            return _disabled
        backend_configs = registry.validated_backends(backends)
        guard.reset()
        _disabled = None
        writer, _started_here = resume.open_writer(settings, without_credentials(backends), _started_here)
        session = Session(settings, writer, backend_configs, _callbacks, {})
        _activate(session)
        _announce(session)
        return session.experiment


def _cell_was_rerun(session: Session) -> bool:
    """Whether the notebook cell that started this run is executed again: then it means another run."""
    cell = notebook.current_cell()
    if cell is None or not cell.is_rerun_of(session.cell):
        return False
    session.end_with(session.cell_error(), notebook.EXIT_TIMEOUT)
    return True


def _activate(session: Session) -> None:
    global _current, _fork_hook_registered
    _current = session
    session.start()
    if not _fork_hook_registered:
        os.register_at_fork(after_in_child=_in_forked_child)
        _fork_hook_registered = True


def _is_rank() -> bool:
    """Whether this multiprocessing child is one of several ranks, and not a helper process."""
    return launched_index() is not None or (not is_daemon() and group_place() is not None)


def attach(rank_config: LaunchedRankConfig, index: int, known: tuple[int, int] | None = None) -> Experiment:
    """Record this launched process as a rank of its launcher's run. OSError if the store is not writable."""
    global _inherited, _disabled
    with _lock:
        if _current is not None:
            return _current.experiment
        before, _inherited = _inherited, None
        if before is not None:
            before.unpatch()
        session = Session(
            rank_config.settings, rank_config.open_writer(index, known), (), _callbacks, rank_config.carried_counts
        )
        handle, _disabled = before.experiment if before is not None else _disabled, None
        if handle is not None:  # the handle that the program holds already becomes the run's handle
            session.adopt_handle(handle)
        _activate(session)
        return session.experiment


def set_rank(rank: int, world_size: int) -> None:
    """`torch.distributed` has determined the rank: correct it if the environment did not have it; join as a forked
    rank.
    """
    session = _current
    if session is None:
        if _inherited is not None and in_worker_process() and not is_daemon():
            attach(_inherited.rank_config(world_size), rank, (rank, world_size))
        return
    known = session.writer.started
    placed = msgspec.structs.replace(
        known, rank=rank, world_size=world_size, local_rank=int(os.environ.get("LOCAL_RANK", known.local_rank)),
        node_rank=int(os.environ.get("GROUP_RANK", os.environ.get("NODE_RANK", known.node_rank))),
    )  # fmt: skip
    if placed != known:
        session.update_started(placed)
    session.find_nodes()


def stop(timeout: float | None = None) -> None:
    """Stop the active run as finished; does nothing without one."""
    session = _current
    if session is not None:
        _end(session, FINISHED, timeout=scalars.checked_timeout(timeout))
    _clear_disabled()


def _clear_disabled(**_: object) -> None:
    global _disabled
    _disabled = None


def active() -> Experiment | None:
    """The active run's handle. In a forked child, the parent's handle, which accepts everything and records nothing."""
    session = _current or _inherited
    return session.experiment if session is not None else _disabled


def _end(session: Session, status: str, reason: str = "", trace: str = "", timeout: float | None = None) -> None:
    global _current
    stop_started = time.monotonic()
    with _lock:
        if _current is session:
            _current = None
        session.stop(status, reason, trace, timeout)
    session.wait_for_delivery(stop_started, timeout)


def allow_adoption(given: frozenset[str]) -> None:
    """The active run's script may still set its name and settings: see `tracelet.session.repeated_start`."""
    if _current is not None:
        _current.adoptable = _current.asked_by_command = given


def expect_status(status: str, reason: str) -> None:
    """The status with which the active run ends, unless an exception or a later call changes it."""
    if _current is not None:
        _current.writer.expect(status, reason)


def follow(session: Session, suffix: str, error: BaseException | None) -> Session | None:
    """End the session of one job and start one like it for the next: see `tracelet.session.job_runs`."""
    global _started_here
    with _lock:
        if _current is not session:
            return None
        session.end_with(error, None)
        backends, name = session.writer.started.backends, f"{session.base_name}-{suffix}"
        settings = session.settings.replaced(experiment_name=name)
        writer, _started_here = resume.open_writer(settings, backends, _started_here)
        next_one = Session(settings, writer, session.delivery.backend_configs, _callbacks, {})
        next_one.base_name, next_one.asked_by_command = session.base_name, session.asked_by_command
        next_one.adoptable = session.asked_by_command
        if session.asked_by_command is None:
            next_one.adopt_handle(session.experiment)  # the program holds it, and means the run of the moment
        _activate(next_one)
        _announce(next_one)
        return next_one


def _adopt_run(session: Session, settings: Settings, backends: Mapping[str, dict[str, Any]]) -> Experiment:
    given, session.adoptable = session.adoptable or frozenset(), None
    started = repeated_start.adopted_start(session.writer.started, settings, without_credentials(backends), given)
    added = [] if "backend" in given else registry.validated_backends(backends)
    if started != session.writer.started:
        session.update_started(started)
        session.writer.flush(ADOPTION_TIMEOUT)  # whoever opens a backend reads name and project in the journal
    session.delivery.add(added)
    repeated_start.warn_late_settings(session.settings, settings, given)
    return session.experiment


def _repeated_start(session: Session, settings: Settings, backends: Mapping[str, dict[str, Any]]) -> Experiment:
    """A second `start_logging()`: allowed if it asks for the active run, an error if it asks for another one."""
    if session.adoptable is not None:
        return _adopt_run(session, settings, backends)
    experiment = session.experiment
    identity = {"experiment_name": experiment.name, "project": experiment.project, "run_id": experiment.id}
    for key, active_value in identity.items():
        asked = settings[key]
        if settings.sources[key] == "arguments" and asked != active_value:
            raise AlreadyActive(
                f"the run {experiment.name!r} ({experiment.id}) is active and continues; {key} {asked!r} starts "
                "another one. Type tracelet.stop_logging() first, or use `with tracelet.start_logging(...):`."
            )
    _extend(session, without_credentials(backends), registry.validated_backends(backends))
    repeated_start.warn_ignored_settings(session.settings, settings)
    return experiment.reenter()


def _extend(session: Session, backends: Mapping[str, dict[str, Any]], backend_configs: Sequence[BackendConfig]) -> None:
    """Deliver the active run to additional backends."""
    started = session.writer.started
    if not backends.keys() <= started.backends.keys():
        session.delivery.add(backend_configs)
        session.update_started(msgspec.structs.replace(started, backends={**backends, **started.backends}))


def _disabled_experiment(settings: Settings) -> Experiment:
    """A handle that records nothing: tracking is disabled, or this is a worker of the recording process."""
    started = Started(run="", name=settings.experiment_name, project=settings.project, time=now(), host="", pid=0)
    return Experiment(started, Path(), NullWriter(), _clear_disabled)


def _announce(session: Session) -> None:
    if session.settings.quiet or session.writer.started.rank:
        return
    experiment = session.experiment
    with guard.guard("saying where the run is recorded"):
        folder = experiment.folder.parent.parent
        print(f"tracelet: recording {experiment.name!r} as {experiment.id} in {folder}", file=sys.stderr)


def _in_forked_child() -> None:
    """A forked child shares our memory and our file, and must use neither."""
    global _current, _inherited, _lock
    _lock = threading.RLock()  # a thread that does not exist here may have held the parent's
    patching.reset_lock()
    if _current is not None:
        _inherited, _current = _current, None
        with guard.guard("letting go of the run in a forked child"):
            _inherited.detach()


_callbacks = SessionCallbacks(_end, set_rank, attach, follow)
