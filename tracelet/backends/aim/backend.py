"""The `aim` backend: a run in an Aim repository, its metrics with contexts, its parameters.

Called by a courier on its thread. Aim's own capture of the terminal, the system and git is off. Aim's public `track()`
would set its own times and keep one value per step, so this backend calls Aim's tracker one level below.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tracelet.backends.artifact_files import resolve_path
from tracelet.backends.base import Batch, Outcome, RunDescription, SeriesPart
from tracelet.backends.health_checks import check_listening, check_writable, require_package
from tracelet.errors import Misconfigured, Unavailable, install_command

FIX = "backend={'aim': {'repo': 'FOLDER'}}"
AIM_PORT = 53800
"""Aim server's default address."""
OURS = "tracelet"
"""The attribute of the run for data that Aim has no place for."""
LISTED = 0.6
"""Seconds until Aim sees a run that another process has created."""


@dataclass(frozen=True)
class AimOptions:
    """Settings of the backend `aim`."""

    repo: str = ""
    """Folder of the Aim repository, or `aim://HOST:PORT`. If empty, the folder of the store."""
    experiment: str = ""
    """Aim experiment of the run. If empty, the project."""


def repository(options: AimOptions, run: RunDescription) -> str:
    """The folder or address of the repository."""
    return options.repo if "://" in options.repo else str(resolve_path(run, options.repo))


class AimBackend:
    """Finds its run again by its hash, or by our run id among the run's attributes."""

    name: ClassVar[str] = "aim"
    options: ClassVar[type] = AimOptions
    extra: ClassVar[str] = "aim"

    def __init__(self, options: AimOptions) -> None:
        self._options = options
        self._run: Any = None

    def open(self, run: RunDescription) -> None:
        """Find the run or create it."""
        where = repository(self._options, run)
        try:
            self._run = _opened(where, run)
        except ImportError as error:
            fix = f"Type {install_command('aim')}; Aim has no packages for Python 3.13 and newer"
            raise Misconfigured(f"Aim cannot be imported ({error})", fix) from error
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            fix = f"Give another folder: {FIX}"
            raise Misconfigured(f"the Aim repository {where} cannot be used ({error})", fix) from error
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"the Aim repository {where} cannot be opened ({error})") from error
        run.remember("hash", self._run.hash)
        self._describe(run)
        run.announce(where)

    def check(self) -> str:
        """For `doctor`: whether the package is installed, and the repository is writable or its server responds."""
        require_package("aim", self.extra)
        repo = self._options.repo
        if "://" in repo:
            return check_listening(repo, AIM_PORT)
        return f"files in {check_writable(repo, FIX)}" if repo else "files in the store"

    def _describe(self, run: RunDescription) -> None:
        self._run.name = run.name
        self._run.experiment = self._options.experiment or run.project
        self._run[OURS] = {
            "run_id": run.id, "started": run.started, "host": run.host, "folder": run.folder,
            "command": list(run.command), "status": "running",
        }  # fmt: skip

    def write(self, batch: Batch) -> None:
        """Track every point at its own time; set parameters and other data as attributes."""
        try:
            for part in batch.points:
                self._track(part)
            for name, value in batch.params.items():
                self._run["hparams", name] = value
            for name, text in batch.tags.items():
                self._run[OURS, "tags", name] = text
            for topic, facts in batch.facts.items():
                self._run[OURS, topic] = _plain(facts)
            for artifact in batch.artifacts:
                about = {"path": artifact.path, "kind": artifact.kind, "size": artifact.size, "digest": artifact.digest}
                self._run[OURS, "artifacts", artifact.name] = about
            for event in batch.events:
                told = {"name": event.name, "time": event.time / 1e6, "attributes": _plain(event.attributes)}
                self._run[OURS, "events", f"{event.time}-{event.name}"] = told
        except OSError as error:
            raise Unavailable(f"the Aim repository cannot be written ({error})") from error

    def _track(self, part: SeriesPart) -> None:
        from aim.storage.context import Context

        context: Any = {"subset": part.stage} if part.stage else {}
        tracker = self._run._tracker
        place = (Context(context).idx, part.name)
        info = tracker.sequence_infos[place]
        if not info.initialized:
            tracker._init_sequence_info(*place, 0.0)
        keys = _keys(part)
        # Aim would keep one value per step, so the key identifies the whole point, and the step is an ordinary column.
        info.step_hash_fn = lambda step: next(keys)
        for step, value, stamp, epoch in zip(part.steps, part.values, part.times, part.epochs):
            tracker._track(value, stamp, part.name, step, None if epoch < 0 else epoch, context=context)

    def close(self, outcome: Outcome | None) -> None:
        """Set the run's status and close the repository."""
        run, self._run = self._run, None
        if run is None:
            return
        if outcome is not None:
            run[OURS, "status"] = outcome.status
            run[OURS, "reason"] = outcome.reason
            run[OURS, "ended"] = outcome.ended
            if outcome.status == "finished":
                run.report_successful_finish(block=True)
        run.close()


def _opened(where: str, run: RunDescription) -> Any:
    """The run in the repository, created if it does not exist."""
    from aim.sdk.errors import MissingRunError, RunLockingError
    from aim.sdk.repo import Repo
    from aim.sdk.run import Run

    quiet: dict[str, Any] = {
        "system_tracking_interval": None, "log_system_params": False, "capture_terminal_logs": False,
    }  # fmt: skip
    if "://" not in where:
        Path(where).mkdir(parents=True, exist_ok=True)
    repo = Repo.from_path(where, init="://" not in where)
    known = run.memory.get("hash") or _found(repo, run.id)
    if known and not repo.run_exists(known):
        time.sleep(LISTED)
    try:
        return Run(known, repo=repo, **quiet)
    except MissingRunError:
        return Run(repo=repo, **quiet)
    except RunLockingError:
        # Left by a courier that was killed: a live one would hold the run's own lock, and we could not be here.
        return Run(known, repo=repo, force_resume=True, **quiet)


def _found(repo: Any, run_id: str) -> str | None:
    time.sleep(LISTED)
    for known in repo.list_all_runs():
        tree = repo.request_tree("meta", known, read_only=True, skip_read_optimization=True).subtree("meta")
        about = tree.subtree("chunks").subtree(known).subtree("attrs").get(OURS, None)
        if about and about.get("run_id") == run_id:
            return str(known)
    return None


def _keys(part: SeriesPart) -> Iterator[int]:
    """A number for each point that depends on the point alone, so that a repeated point replaces itself."""
    seen: Counter[bytes] = Counter()
    for step, value, stamp in zip(part.steps, part.values, part.times):
        point = struct.pack("<qdd", step, value, stamp)
        digest = hashlib.blake2b(point, digest_size=8, salt=seen[point].to_bytes(8, "little")).digest()
        seen[point] += 1
        yield int.from_bytes(digest, "little") >> 1


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
