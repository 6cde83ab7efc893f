"""The `wandb` backend: one run of Weights & Biases, resumable by our run id, online or offline.

Called by a courier on its thread. The SDK's own capture of console, git, code and machine is off; it prints and asks
nothing. Every row gets a number of ours as its step, the same when it comes again, so that none is doubled, and every
metric has its real step on an axis, so that none is dropped for being out of order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.backends.environment_variables import given
from tracelet.backends.wandb import sdk_session as session
from tracelet.backends.wandb.artifact_uploads import Uploads
from tracelet.backends.wandb.history_rows import Row, batch_rows, column, same
from tracelet.backends.wandb.offline_file import Spool
from tracelet.backends.wandb.sdk_session import calling
from tracelet.backends.wandb.write_ahead_log import Ledger
from tracelet.errors import Misconfigured, Rejected, Unavailable

if TYPE_CHECKING:
    from wandb import Run

LONGEST_TAG = 64
MACHINE_AXIS = "_timestamp"


@dataclass(frozen=True)
class WandbOptions:
    """Settings of the backend `wandb`."""

    url: str = ""
    """URL of the server. If empty, WANDB_BASE_URL, otherwise `https://api.wandb.ai`."""
    api_key: str = ""
    """API key. If empty, WANDB_API_KEY or the key stored by `wandb login`. Never stored."""
    entity: str = ""
    """Team or user that owns the run. If empty, the default entity of the API key."""
    mode: str = "online"
    """`online`, `offline` (writes a folder for `wandb sync`) or `shared`."""
    group: str = ""
    """Group of the run."""
    job_type: str = ""
    """Job type of the run, e.g. `train` or `eval`."""
    notes: str = ""
    """Notes: a longer description of the run."""
    step_axis: str = "trainer/global_step"
    """Name of the metric that holds the steps. The default is the one of Lightning's WandbLogger."""
    dir: str = ""
    """Folder for the SDK's files. If empty, the folder of the store."""
    timeout: float = 60.0
    """Timeout in seconds for starting, writing and finishing the run."""


class WandbBackend:
    """Hands rows to the SDK and waits until they are in its file."""

    name: ClassVar[str] = "wandb"
    options: ClassVar[type] = WandbOptions
    extra: ClassVar[str] = "wandb"

    def __init__(self, options: WandbOptions) -> None:
        self._options = options
        self._run: Run | None = None
        self._described: RunDescription | None = None
        self._spool = Spool(Path())
        self._ledger: Ledger | None = None
        self._uploads: Uploads | None = None
        self._there: dict[int, Row] = {}
        self._kept: set[tuple[str, str]] = set()
        self._next = 0
        self._noted: Mapping[str, Any] = {}
        self._defined: set[str] = set()

    @property
    def _offline(self) -> bool:
        return self._options.mode == "offline"

    def open(self, run: RunDescription) -> None:
        """Start the run, or go on with it; give it what the SDK had been given and had not sent or written."""
        folder = self._folder(run)
        with calling(folder):
            import wandb

            self._read_earlier(folder, run.id)
            if not self._offline and not self._options.api_key:
                session.check_key(self._options.url)
            session.await_free_folder(folder, run.id)
            with given(session.account(self._options.url, self._options.api_key)):
                self._run = wandb.init(
                    id=run.id, resume="allow", project=run.project or None, entity=self._options.entity or None,
                    name=run.name or None, group=self._options.group or None, job_type=self._options.job_type or None,
                    notes=self._options.notes or None, dir=str(folder), mode=self._mode(), reinit=session.apart(),
                    tags=_labels(run.tags), settings=self._settings(run),
                )  # fmt: skip
            self._described, self._noted, self._defined = run, run.memory.get("batch") or {}, set()
            self._spool = Spool(Path(self._run.dir).parent / f"run-{run.id}.wandb")
            self._uploads = Uploads(self._run, run, self._offline)
            self._restore(self._run, folder / "wandb" / f"{run.id}.rows.jsonl")
            _configure(self._run, run.params)
            self._uploads.resume()
        if not self._offline and self._run.url:
            run.announce(self._run.url)

    def _read_earlier(self, folder: Path, run_id: str) -> None:
        """What couriers that were killed, or the SDK's processes of theirs, have left in files of this run."""
        for path in sorted(folder.glob(f"wandb/*run-*-{run_id}/run-{run_id}.wandb")):
            spool = Spool(path)
            self._there.update(spool.rows())
            self._kept |= spool.artifacts
            if self._offline:
                spool.drop_incomplete()

    def _restore(self, run: Run, path: Path) -> None:
        """Rows that were on disk when the SDK's process was killed, and that the server, or its file, does not have."""
        self._ledger = None if session.flushes() else Ledger(path)
        lost: dict[int, Row] = {}
        if self._ledger is not None:
            lost = {step: row for step, row in self._ledger.rows.items() if step not in self._there}
            self._there.update(lost)
            _configure(run, self._ledger.config)
        missing = lost if self._offline else [step for step in self._there if step >= run.step]
        for step in sorted(missing):
            row = {name: value for name, value in self._there[step].items() if name not in ("_step", "_runtime")}
            run.log(row, step=step, commit=True)
        self._next = max(self._there, default=-1) + 1

    def _folder(self, run: RunDescription) -> Path:
        folder = Path(self._options.dir or run.store).expanduser()
        folder = folder if folder.is_absolute() else Path(run.folder) / folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fix = "Give another folder: backend={'wandb': {'dir': 'FOLDER'}}"
            raise Misconfigured(f"{folder} cannot be created ({error.strerror})", fix) from error
        return folder

    def _mode(self) -> Any:
        if self._options.mode not in ("online", "offline", "shared"):
            raise Misconfigured(f"wandb does not support mode {self._options.mode!r}", "Give online, offline or shared")
        return self._options.mode

    def _settings(self, run: RunDescription) -> Any:
        late = self._options.timeout if session.raises_when_late() else None
        return session.quiet_settings({
            "api_key": self._options.api_key or None, "base_url": self._options.url or None, "host": run.host or None,
            "x_start_time": run.started, "init_timeout": self._options.timeout, "finish_timeout": late,
            "finish_timeout_raises": True if late else None,
        })  # fmt: skip

    def write(self, batch: Batch) -> None:
        """Log one row for each step and moment; parameters and facts go to the config."""
        run, described, uploads = self._opened()
        with calling(None):
            self._define(run, batch)
            rows = list(batch_rows(batch, self._options.step_axis))
            base = self._base(batch, rows)
            self._noted = {"id": batch.id, "base": base}
            described.remember("batch", self._noted)
            fresh = [(number, row) for number, row in enumerate(rows, base) if number >= self._next]
            config: dict[str, Any] = dict(batch.params)
            config.update({f"tracelet/{topic}": _brief(facts) for topic, facts in batch.facts.items()})
            if self._ledger is not None:
                self._ledger.keep(fresh, config)
            for number, row in fresh:
                run.log(row, step=number, commit=True)
            self._next = max(self._next, base + len(rows))
            _configure(run, config)
            if batch.tags:
                run.tags = tuple({*(run.tags or ()), *_labels(batch.tags)})
            for artifact in batch.artifacts:
                uploads.log(artifact, there=self._kept if batch.again and self._offline else ())
            self._settle(base + len(rows) - 1 if rows else -1)
            uploads.settle(self._spool.artifacts)
        self._tell_refused(uploads)

    def _tell_refused(self, uploads: Uploads) -> None:
        refused, uploads.refused = uploads.refused, []
        if refused:
            whys = sorted({why for _, why in refused})
            raise Rejected([artifact for artifact, _ in refused], f"wandb rejected the artifact: {'; '.join(whys)}")

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

    def _settle(self, last: int) -> None:
        """Wait until the SDK's other process has the rows on disk, or see how far it came and keep the rest."""
        if self._ledger is not None:
            self._spool.read()
            self._ledger.reached(self._spool.highest)
            return
        self._await(lambda: self._spool.highest >= last or last in self._there, "what it was given")

    def _await(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._options.timeout
        while True:
            self._spool.read()
            if self._spool.ended or true():
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"wandb did not take {what} within {self._options.timeout:g} seconds")
            time.sleep(0.02)

    def close(self, outcome: Outcome | None) -> None:
        """End the run's process. Without an outcome the run is shown as crashed until somebody goes on with it.

        What had not arrived when an earlier call gave up is sent again.
        """
        if self._described is None:
            return
        if self._run is None:
            if outcome is None:
                return
            memory = {
                **self._described.memory,
                "batch": self._noted,
                **(self._uploads.memory() if self._uploads else {}),
            }
            self.open(replace(self._described, memory=memory))
        run, _, uploads = self._opened()
        with calling(None):
            if outcome is not None and not self._offline:
                self._await(lambda: uploads.settle(self._spool.artifacts), "the artifacts")
            if outcome is not None:
                _configure(run, {"tracelet/status": f"{outcome.status} {outcome.reason}".strip()})
                if outcome.status == "preempted":
                    run.mark_preempting()
            self._run = None
            run.finish(exit_code=0 if outcome is not None and outcome.status == "finished" else 1)
            self._await(lambda: False, "the end of the run")
        if self._offline:
            uploads.settle(self._spool.artifacts)
        if self._ledger is not None:
            self._ledger.clear()
        self._described = None
        self._tell_refused(uploads)

    def _opened(self) -> tuple[Run, RunDescription, Uploads]:
        assert self._run is not None and self._described is not None and self._uploads is not None, "open comes first"
        return self._run, self._described, self._uploads


def _configure(run: Run, values: Mapping[str, Any]) -> None:
    config: Any = run.config  # untyped in the SDK
    config.update(dict(values), allow_val_change=True)


def _labels(tags: Mapping[str, str]) -> list[str]:
    return [f"{name}: {text}"[:LONGEST_TAG] for name, text in tags.items() if text]


def _brief(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a config page can show: a diff of a megabyte is not."""
    return {name: value for name, value in facts.items() if not isinstance(value, str) or len(value) <= 2000}
