"""The `wandb` backend: one run of Weights & Biases, resumable by our run id, online or offline.

Called by a courier on its thread. The SDK's own capture of console, git, code and machine is off; it prints and asks
nothing. Every row gets a number of ours as its step, the same when it comes again, so that none is doubled, and every
metric has its real step on an axis, so that none is dropped for being out of order.
"""

from __future__ import annotations

import inspect
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tracelet.artifacts import manifest, object_path
from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.backends.naming import legal
from tracelet.backends.wandb_rows import Row, batch_rows, column, same
from tracelet.backends.wandb_spool import Spool
from tracelet.errors import Misconfigured, Unavailable
from tracelet.records import Artifact

if TYPE_CHECKING:
    from wandb import Run

LONGEST_TAG = 64
UNFIT_FOR_ARTIFACTS = re.compile(r"[^\w.\-]", re.ASCII)
LONGEST_ARTIFACT = 120
MACHINE_AXIS = "_timestamp"


@dataclass(frozen=True)
class WandbOptions:
    """Settings of the backend `wandb`."""

    url: str = ""
    """Address of the server; WANDB_BASE_URL if empty, or the public one."""
    api_key: str = ""
    """API key; WANDB_API_KEY or the file that `wandb login` writes if empty. Never stored."""
    entity: str = ""
    """Team or user that owns the run."""
    mode: str = "online"
    """`online`, `offline` (a folder that `wandb sync` takes) or `shared`."""
    group: str = ""
    """Group of the run."""
    job_type: str = ""
    """What the run does: train, eval ..."""
    notes: str = ""
    """A longer description of the run."""
    step_axis: str = "trainer/global_step"
    """Name of the column that holds the steps; the same as that of Lightning's WandbLogger."""
    dir: str = ""
    """Folder of the SDK's own files; the store's folder if empty."""
    timeout: float = 60.0
    """Seconds that starting, writing and finishing may take before they count as failed."""


class WandbBackend:
    """Hands rows to the SDK and waits until they are in its file."""

    name: ClassVar[str] = "wandb"
    options: ClassVar[type] = WandbOptions
    extra: ClassVar[str] = "wandb"

    def __init__(self, options: WandbOptions) -> None:
        self._options = options
        self._run: Run | None = None
        self._described: RunDescription | None = None
        self._spool: Spool | None = None
        self._there: dict[int, Row] = {}
        self._next = 0
        self._noted: Mapping[str, Any] = {}
        self._defined: set[str] = set()

    def open(self, run: RunDescription) -> None:
        """Start the run, or go on with it; give it the rows that the SDK had on disk and had not sent."""
        folder = self._folder(run)
        for path in sorted(folder.glob(f"wandb/*run-*-{run.id}/run-{run.id}.wandb")):
            self._there.update(Spool(path).rows())
        with self._calling(folder):
            import wandb

            self._check_key()
            _await_free_folder(folder, run.id)
            self._run = wandb.init(
                id=run.id, resume="allow", project=run.project or None, entity=self._options.entity or None,
                name=run.name or None, group=self._options.group or None, job_type=self._options.job_type or None,
                notes=self._options.notes or None, dir=str(folder), mode=self._mode(), reinit=_apart(wandb.__version__),
                tags=_labels(run.tags), settings=self._settings(run),
            )  # fmt: skip
            self._described, self._noted = run, run.memory.get("batch") or {}
            self._spool = Spool(Path(self._run.dir).parent / f"run-{run.id}.wandb")
            self._next = max(self._there, default=-1) + 1
            self._resend(self._run)
            _configure(self._run, run.params)
        if self._options.mode != "offline" and self._run.url:
            run.announce(self._run.url)

    def _resend(self, run: Run) -> None:
        """Rows that were on disk when the SDK's process was killed, and that the server does not have."""
        if self._options.mode == "offline":
            return
        for step in sorted(step for step in self._there if step >= run.step):
            row = {name: value for name, value in self._there[step].items() if name not in ("_step", "_runtime")}
            run.log(row, step=step, commit=True)

    def _folder(self, run: RunDescription) -> Path:
        folder = Path(self._options.dir or run.store).expanduser()
        folder = folder if folder.is_absolute() else Path(run.folder) / folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fix = "Give another folder: backend={'wandb': {'dir': 'FOLDER'}}"
            raise Misconfigured(f"{folder} cannot be made ({error.strerror})", fix) from error
        return folder

    def _mode(self) -> Any:
        if self._options.mode not in ("online", "offline", "shared"):
            raise Misconfigured(f"wandb has no mode {self._options.mode!r}", "Give online, offline or shared")
        return self._options.mode

    def _check_key(self) -> None:
        import wandb

        if self._options.mode == "offline" or self._options.api_key:
            return
        login: Any = wandb.login
        if "prompt" in inspect.signature(login).parameters:
            known = login(host=self._options.url or None, prompt=False)
        else:  # before 0.20
            known = wandb.api.api_key
        if known:
            return
        fix = "Type wandb login, or set WANDB_API_KEY, or use backend={'wandb': {'mode': 'offline'}}"
        raise Misconfigured("wandb has no API key", fix)

    def _settings(self, run: RunDescription) -> Any:
        import wandb

        wanted: dict[str, Any] = {
            "api_key": self._options.api_key or None, "base_url": self._options.url or None, "host": run.host or None,
            "console": "off", "silent": True, "quiet": True, "show_info": False, "show_warnings": False,
            "show_errors": False, "disable_git": True, "disable_code": True, "save_code": False, "x_disable_meta": True,
            "x_disable_stats": True, "x_save_requirements": False, "x_disable_machine_info": True,
            "disable_job_creation": True, "x_start_time": run.started, "init_timeout": self._options.timeout,
            "finish_timeout": self._options.timeout, "x_transaction_log_flush_interval": 0.05,
        }  # fmt: skip
        known = set(getattr(wandb.Settings, "model_fields", None) or dir(wandb.Settings))
        return wandb.Settings(**{name: value for name, value in wanted.items() if name in known and value is not None})

    def write(self, batch: Batch) -> None:
        """Log one row for each step and moment; parameters and facts go to the config."""
        run, described, spool = self._opened()
        with self._calling(None):
            self._define(run, batch)
            rows = list(batch_rows(batch, self._options.step_axis))
            base = self._base(batch, rows)
            self._noted = {"id": batch.id, "base": base}
            described.remember("batch", self._noted)
            for number, row in enumerate(rows, base):
                if number >= self._next:
                    run.log(row, step=number, commit=True)
            self._next = max(self._next, base + len(rows))
            config: dict[str, Any] = dict(batch.params)
            config.update({f"tracelet/{topic}": _brief(facts) for topic, facts in batch.facts.items()})
            _configure(run, config)
            if batch.tags:
                run.tags = tuple({*(run.tags or ()), *_labels(batch.tags)})
            for artifact in batch.artifacts:
                if artifact.digest:
                    self._log_artifact(run, described, artifact)
                else:
                    _configure(run, {f"tracelet/references/{artifact.name}": artifact.path})
            self._settle(spool, base + len(rows) - 1 if rows else -1)

    def _base(self, batch: Batch, rows: list[Row]) -> int:
        """The number of the batch's first row: what was noted, what is on disk, or the next."""
        noted = self._noted
        if batch.again and noted.get("id") == batch.id:
            return int(noted["base"])
        if batch.again and rows:
            for step, row in sorted(self._there.items()):
                if all(same(row.get(name), value) for name, value in rows[0].items()):
                    return step
        return self._next

    def _define(self, run: Run, batch: Batch) -> None:
        renamed = {}
        for part in batch.points:
            if part.name in self._defined:
                continue
            self._defined.add(part.name)
            name = column(part.name, self._options.step_axis)
            axis = MACHINE_AXIS if part.system else self._options.step_axis
            if "*" not in name:  # would be taken for a pattern
                run.define_metric(name, step_metric=axis)
            if name != part.name:
                renamed[name] = part.name
        if renamed:
            _configure(run, {"tracelet/names": {**dict(run.config).get("tracelet/names", {}), **renamed}})

    def _log_artifact(self, run: Run, described: RunDescription, artifact: Artifact) -> None:
        import wandb

        title = legal(artifact.name, UNFIT_FOR_ARTIFACTS, LONGEST_ARTIFACT, "-")
        made = wandb.Artifact(
            title, type=artifact.kind or "file", metadata={"path": artifact.path, "size": artifact.size}
        )
        folder = described.artifacts_folder.parent
        for name, (digest, _) in manifest(folder, artifact).items():
            # Content addressed, so it stays as it is: no copy is made, and `wandb sync` finds it later.
            made.add_file(str(object_path(folder, digest)), name=name, policy="immutable", skip_cache=True)
        run.log_artifact(made)

    def _settle(self, spool: Spool, last: int = -1, *, until_end: bool = False) -> None:
        """Wait until the SDK's other process has the rows, or the end, on disk."""
        deadline = time.monotonic() + self._options.timeout
        while True:
            spool.read()
            if spool.ended or (not until_end and (spool.highest >= last or last in self._there)):
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"wandb did not take what it was given within {self._options.timeout:g} seconds")
            time.sleep(0.02)

    def close(self, outcome: Outcome | None) -> None:
        """End the run's process. Without an outcome the run is shown as crashed until somebody goes on with it."""
        run, self._run = self._run, None
        if run is None:
            return
        with self._calling(None):
            if outcome is not None:
                _configure(run, {"tracelet/status": f"{outcome.status} {outcome.reason}".strip()})
                if outcome.status == "preempted":
                    run.mark_preempting()
            run.finish(exit_code=0 if outcome is not None and outcome.status == "finished" else 1)
            if self._spool is not None:
                self._settle(self._spool, until_end=True)

    def _opened(self) -> tuple[Run, RunDescription, Spool]:
        assert self._run is not None and self._described is not None and self._spool is not None, "open() comes first"
        return self._run, self._described, self._spool

    @contextmanager
    def _calling(self, folder: Path | None) -> Iterator[None]:
        """Run the SDK's code in here: its files stay in our folder, its errors become ours."""
        places = (
            {f"WANDB_{kind}_DIR": str(folder / "wandb" / kind.lower()) for kind in ("CACHE", "DATA")} if folder else {}
        )
        places["WANDB_ERROR_REPORTING"] = "false"  # the SDK's reports about itself are no business of a training
        fresh = {name: place for name, place in places.items() if name not in os.environ}
        os.environ.update(fresh)
        try:
            import wandb.errors
        except ImportError as error:
            raise Misconfigured(f"wandb cannot be imported ({error})", "Type pip install 'tracelet[wandb]'") from error
        try:
            yield
        except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
            fix = "Type wandb login, or set WANDB_API_KEY; WANDB_BASE_URL is the server's address"
            raise Misconfigured(f"wandb refuses ({_first_line(error)})", fix) from error
        except (wandb.errors.Error, OSError, TimeoutError) as error:
            raise Unavailable(f"wandb does not answer ({_first_line(error)})") from error
        finally:
            for name in fresh:
                os.environ.pop(name, None)


def _await_free_folder(folder: Path, run_id: str) -> None:
    """The SDK names a run's folder by the second, and would write over what an earlier courier left in this one."""
    while any(folder.glob(f"wandb/*run-{time.strftime('%Y%m%d_%H%M%S')}-{run_id}")):
        time.sleep(0.05)


def _apart(version: str) -> Any:
    """How the SDK is told to leave other runs alone. Before 0.19.10 a process had one run at a time."""
    return "create_new" if tuple(map(int, re.findall(r"\d+", version)[:3])) >= (0, 19, 10) else True


def _configure(run: Run, values: Mapping[str, Any]) -> None:
    config: Any = run.config  # untyped in the SDK
    config.update(dict(values), allow_val_change=True)


def _labels(tags: Mapping[str, str]) -> list[str]:
    return [f"{name}: {text}"[:LONGEST_TAG] for name, text in tags.items() if text]


def _brief(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a config page can show: a diff of a megabyte is not."""
    return {name: value for name, value in facts.items() if not isinstance(value, str) or len(value) <= 2000}


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300]
