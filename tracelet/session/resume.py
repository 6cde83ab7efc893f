"""Decides whether this process starts a new run or resumes one, and writes the first record of its journal.

Called by the session on the user's thread. All processes of a launch reach the same decision without communicating:
from their settings, the cluster's job and the launch they share. The record `Started` stores it: the `launch`, and the
`branch`, which counts how often the run was resumed before.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tracelet._version import __version__
from tracelet.capture.clock import now
from tracelet.capture.writer import Writer
from tracelet.errors import JournalError, SettingsError, StoreError
from tracelet.guard import guard
from tracelet.integrations.torch_launchers import group_place
from tracelet.journal.journal_reader import first_record
from tracelet.journal.journal_view import JournalView
from tracelet.journal.records import RUNNING, Artifact, Started
from tracelet.journal.run_folder import SUFFIX, create_journal
from tracelet.redaction.known_secrets import redact
from tracelet.redaction.masking import mask_arguments
from tracelet.session.job_run_choice import may_resume, run_ids
from tracelet.session.rank_environment import Identity, identify
from tracelet.session.run_origin import signed
from tracelet.settings import Settings
from tracelet.store.pids import is_alive, process_age
from tracelet.store.process_status import process_status
from tracelet.store.store import LATEST, STORE_NAME, Store, prepare

_counted = False
"""Whether this process's time before its first run has been attributed to that run."""
AUTO = "auto"
VALID_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""Characters allowed in file names on every file system, and in URLs."""
JOB_ID_VARIABLES = (
    ("SLURM_JOB_ID", "slurm"),
    ("TORCHELASTIC_RUN_ID", "torchrun"),
    ("LSB_JOBID", "lsf"),
    ("PBS_JOBID", "pbs"),
)
"""Variables in which clusters and torchrun identify the job; a restarted job keeps them."""
STOP_TIMEOUT = 5.0
"""Seconds that the end of a run waits for the origin of a checkpoint."""
MAX_OTHER_RANKS = 16
"""Journals of other ranks that are read for their branch."""
NO_JOB_ID = frozenset({"", "none"})
"""`none` is torchrun's default if no id was set."""


def open_writer(settings: Settings, backends: Mapping[str, dict[str, Any]], nth: int) -> tuple[Writer, int]:
    """Create this process's journal in its run's folder, which another rank may have created already.

    `nth`: how many runs this process has started before; the new number is returned as well.
    """
    identity = identify(known=group_place())
    try:
        run, nth = _choose_run(prepare(settings.dir), settings, identity, nth)
        folder = prepare(settings.dir) / run
        folder.mkdir(exist_ok=True)
        earlier = list(_ranks(folder, identity.stem))
        branch = _branch(earlier, identity)
        journal, attempt = create_journal(folder, identity.stem, redact)
        started = signed(_started(settings, identity, run, (attempt, branch), backends))
        writer = Writer(journal, started, settings.flush_interval)
        writer.without_agent = settings.delivery != "agent"
        if branch:
            with guard("finding the last steps"):
                from tracelet.store import media_items  # only a resumed run needs it

                writer.packer.continue_steps(*_next_steps(folder, earlier, identity.rank))
                writer.next_media_steps = media_items.next_steps(_of_rank(folder, earlier, identity.rank))
        writer.start()
    except OSError as error:
        raise StoreError(
            f"the run cannot be recorded in {settings.dir or STORE_NAME} ({error.strerror or error}); nothing was "
            "started. Free space, or name another folder: TRACELET_DIR=/some/folder"
        ) from error
    return writer, nth + 1


def _choose_run(runs: Path, settings: Settings, identity: Identity, nth: int) -> tuple[str, int]:
    """The run's id, and the number of the run within this process."""
    if settings.run_id:
        if not VALID_ID.fullmatch(settings.run_id):
            raise SettingsError(
                f"run_id cannot be {settings.run_id!r}: expected up to 64 letters, digits, dots, dashes and underscores"
            )
        if settings.run_id in (LATEST, AUTO):
            raise SettingsError(
                f"run_id cannot be {settings.run_id!r}, which is a reserved name. Type "
                f"resume={settings.run_id!r} to resume that run, or choose another id"
            )
        if settings.resume not in ("", AUTO) and Store(runs.parent).run(settings.resume).id != settings.run_id:
            raise SettingsError(
                f"run_id {settings.run_id!r} and resume {settings.resume!r} name different runs. Give only one of them"
            )
        return settings.run_id, nth
    if settings.resume == AUTO:
        job = job_key(os.environ)
        if job:
            return next(
                run for run in run_ids(job, nth) if may_resume(_ranks(runs / run, identity.stem), identity)
            ), nth
        written = next(_writers(runs, sys.argv[1:]), None)
        if written is not None:
            return written, nth
    elif settings.resume:
        return Store(runs.parent).run(settings.resume).id, nth
    while identity.recurring and any((runs / identity.run_id(nth)).glob(f"{identity.stem}.*")):
        nth += 1  # that was an earlier launch
    return identity.run_id(nth), nth


def job_key(environ: Mapping[str, str]) -> str:
    """A key that stays the same when a cluster, or torchrun, restarts this job; empty outside such a job."""
    for variable, system in JOB_ID_VARIABLES:
        if environ.get(variable, "") not in NO_JOB_ID:
            step = environ.get("SLURM_STEP_ID", "") if system == "slurm" else ""
            return f"{system}:{environ[variable]}:{step}"
    return ""


def _writers(runs: Path, arguments: list[str]) -> Iterator[str]:
    """The runs that wrote the checkpoints on the command line (`--ckpt_path FILE`, `ckpt_path=FILE`)."""
    for argument in arguments:
        path = argument.rpartition("=")[2]
        if path and os.path.exists(path):
            written = writer_of(runs, path)
            if written:
                yield written


def writer_of(runs: Path, checkpoint: str) -> str:
    """The id of the newest run in the store that recorded this file as its checkpoint; empty if there is none."""
    place = os.path.realpath(checkpoint)
    for run in Store(runs.parent).runs():
        for view in run.views:
            for artifact in view.records(Artifact):
                if artifact.kind == "checkpoint" and os.path.realpath(artifact.path) == place:
                    return run.id
    return ""


class CheckpointOrigin:
    """Finds the run that wrote a checkpoint, on a separate thread: a store may have thousands of runs."""

    def __init__(self, folder: Path, checkpoint: str, found: Callable[[str], None]) -> None:
        self._folder = folder
        self._checkpoint = checkpoint
        self._found = found
        self._thread = threading.Thread(target=self._search, name="tracelet-checkpoint-origin", daemon=True)

    def start(self) -> None:
        """Start the search."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the result, within a limit."""
        self._thread.join(STOP_TIMEOUT)

    def _search(self) -> None:
        with guard("tracing a checkpoint"):
            written = writer_of(self._folder.parent, self._checkpoint)
            if written not in ("", self._folder.name):
                self._found(written)


def _ranks(folder: Path, stem: str) -> Iterator[tuple[Path, Started]]:
    """The journals of this rank, of rank 0, and of some others: a thousand ranks must not all read a thousand files."""
    mine, leading = set(folder.glob(f"{stem}.*{SUFFIX}")), set(folder.glob(f"rank-0.*{SUFFIX}"))
    for path in sorted(mine | leading) + list(islice(folder.glob("rank-*" + SUFFIX), MAX_OTHER_RANKS)):
        started = first_record(path)
        if started is not None and started.role == "rank":
            yield path, started


def _branch(earlier: list[tuple[Path, Started]], me: Identity) -> int:
    """0 in a new run; one more than before in a resumed run, and the same for all ranks of the launch."""
    last = max((started.branch for _, started in earlier), default=0)
    top = [(path, started) for path, started in earlier if started.branch == last]
    if not top:
        return 0
    if not any(started.launch == me.launch for _, started in top):
        return last + 1
    mine = [(path, started) for path, started in top if started.rank == me.rank and not started.parent]
    return last + bool(mine and all(_has_ended(path, started) for path, started in mine))


def _has_ended(path: Path, started: Started) -> bool:
    """Whether nothing more will be written there; a running process may have ended this run itself."""
    here = started.host == socket.gethostname()
    if here and (started.pid == os.getpid() or not is_alive(started.pid, started.process_started)):
        return True
    try:
        return process_status(JournalView(path), ()).status != RUNNING
    except (OSError, JournalError):
        return True


def _next_steps(
    folder: Path, earlier: list[tuple[Path, Started]], rank: int
) -> tuple[dict[str, int], dict[int, dict[str, int]]]:
    """The next steps of metrics that are logged without a step, from the processes of this rank: by name, and by fit
    where there are several.
    """
    following: dict[str, int] = {}
    by_fit: dict[int, dict[str, int]] = {}
    for view in _of_rank(folder, earlier, rank):
        for fit, metrics in ((None, view.metrics), *view.fit_metrics.items()):
            steps = following if fit is None else by_fit.setdefault(fit, {})
            for name, metric in metrics.items():
                steps[name] = max(steps.get(name, 0), metric.last_step + 1)
    return following, by_fit


def _of_rank(folder: Path, earlier: list[tuple[Path, Started]], rank: int) -> list[JournalView]:
    """What the earlier processes of this rank recorded."""
    return [JournalView(path) for path, started in earlier if started.rank == rank and path.parent == folder]


def _started(
    settings: Settings,
    identity: Identity,
    run: str,
    turn: tuple[int, int],
    backends: Mapping[str, dict[str, Any]],
) -> Started:
    attempt, branch = turn
    return Started(
        run=run, name=settings.experiment_name or _script_name(), project=settings.project, time=now(),
        host=identity.host, pid=identity.pid, process_started=identity.process_started, rank=identity.rank,
        local_rank=identity.local_rank, node_rank=identity.node_rank, world_size=identity.world_size, attempt=attempt,
        launch=identity.launch, branch=branch, command=mask_arguments(sys.orig_argv), folder=_working_folder(),
        version=__version__, backends=dict(backends), process_age=_age(), by_fit=True,
    )  # fmt: skip


def _age() -> float:
    """For how long this process has run, if it was started for this run: not in a notebook, nor for a second run."""
    global _counted
    first, _counted = not _counted, True
    return process_age() if first and "ipykernel" not in sys.modules else 0.0


def _working_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""  # it was deleted, which does not matter if the store is elsewhere


def _script_name() -> str:
    script = sys.argv[0] if sys.argv else ""
    return Path(script).stem if script not in ("", "-c", "-m") else "python"
