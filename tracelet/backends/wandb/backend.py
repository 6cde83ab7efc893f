"""The `wandb` backend: one run of Weights & Biases, resumable by our run id, online or offline.

Called by a courier on its thread. The SDK's own capture of console, git, code and machine is off; it prints and asks
nothing. Every row gets our own number as its step, the same when it is sent again, so that none is doubled, and every
metric has its real step on an axis, so that none is dropped for being out of order.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.backends.legal_names import legal_name
from tracelet.backends.wandb import sdk_session as session
from tracelet.backends.wandb.artifact_uploads import ArtifactUploads
from tracelet.backends.wandb.history_rows import (
    PointIdentity,
    Row,
    batch_rows,
    column,
    lacking,
    same_value,
    written_points,
)
from tracelet.backends.wandb.offline_file import OfflineFile
from tracelet.backends.wandb.options import WandbOptions
from tracelet.backends.wandb.sdk_session import calling
from tracelet.backends.wandb.write_ahead_log import WriteAheadLog
from tracelet.capture.environment_variables import temporary_environment
from tracelet.errors import Misconfigured, Rejected, Unavailable

if TYPE_CHECKING:
    from wandb import Run

MAX_TAG_LENGTH = 64
NONE = re.compile(r"(?!)")
UNFIT_FOR_PROJECTS = re.compile(r"[/\\#?%:]")
MAX_PROJECT_LENGTH = 128
MACHINE_AXIS = "_timestamp"


class WandbBackend:
    """Passes rows to the SDK and waits until they are in its file."""

    name: ClassVar[str] = "wandb"
    options: ClassVar[type] = WandbOptions
    extra: ClassVar[str] = "wandb"

    def __init__(self, options: WandbOptions) -> None:
        self._options = options
        self._run: Run | None = None
        self._described: RunDescription | None = None
        self._offline_file = OfflineFile(Path())
        self._write_ahead_log: WriteAheadLog | None = None
        self._uploads: ArtifactUploads | None = None
        self._rows_written: dict[int, Row] = {}
        self._artifacts_written: set[tuple[str, str]] = set()
        self._next_step = 0
        self._everything_again = False
        self._points_written: Counter[PointIdentity] = Counter()
        self._batch_position: Mapping[str, Any] = {}
        self._defined_metrics: set[str] = set()

    @property
    def _offline(self) -> bool:
        return self._options.mode == "offline"

    def open(self, run: RunDescription) -> None:
        """Start or continue the run; pass the SDK again what it had received and not sent or written."""
        folder = self._folder(run)
        with calling(folder):
            import wandb

            self._read_earlier(folder, run.id)
            lost = self._offline and bool(self._rows_written) and not run.memory
            self._everything_again = self._offline and (run.repair or lost)
            if self._everything_again:
                self._points_written = written_points(self._rows_written.values(), self._options.step_axis)
            if lost:
                run.found()
            if not self._offline and not self._options.api_key:
                session.check_key(self._options.url)
            session.await_free_folder(folder, run.id)
            with temporary_environment(session.account_variables(self._options.url, self._options.api_key)):
                self._run = wandb.init(
                    id=run.id, resume="allow", project=self._project(run) or None, entity=self._options.entity or None,
                    name=run.name or None, group=self._options.group or None, job_type=self._options.job_type or None,
                    notes=self._options.notes or None, dir=str(folder), mode=self._mode(), reinit=session.reinit_mode(),
                    tags=_labels(run.tags), settings=self._settings(run),
                )  # fmt: skip
            self._described, self._batch_position, self._defined_metrics = run, run.memory.get("batch") or {}, set()
            self._offline_file = OfflineFile(Path(self._run.dir).parent / f"run-{run.id}.wandb")
            self._uploads = ArtifactUploads(self._run, run, self._offline)
            self._restore(self._run, folder / "wandb" / f"{run.id}.rows.jsonl")
            _configure(self._run, run.params)
            self._uploads.resume()
        if not self._offline and self._run.url:
            run.announce(self._run.url)

    def _read_earlier(self, folder: Path, run_id: str) -> None:
        """Read what killed couriers, or their SDK processes, have left in files of this run."""
        for path in sorted(folder.glob(f"wandb/*run-*-{run_id}/run-{run_id}.wandb")):
            offline_file = OfflineFile(path)
            self._rows_written.update(offline_file.rows())
            self._artifacts_written |= offline_file.artifacts
            if self._offline:
                offline_file.drop_incomplete()

    def _restore(self, run: Run, path: Path) -> None:
        """Rows that were on disk when the SDK's process was killed, and that the server, or its file, does not have."""
        self._write_ahead_log = None if session.writes_promptly() else WriteAheadLog(path)
        lost: dict[int, Row] = {}
        if self._write_ahead_log is not None:
            lost = {step: row for step, row in self._write_ahead_log.rows.items() if step not in self._rows_written}
            self._rows_written.update(lost)
            _configure(run, self._write_ahead_log.config)
        missing = lost if self._offline else [step for step in self._rows_written if step >= run.step]
        for step in sorted(missing):
            row = {name: value for name, value in self._rows_written[step].items() if name not in ("_step", "_runtime")}
            run.log(row, step=step, commit=True)
        self._next_step = max(self._rows_written, default=-1) + 1

    def _folder(self, run: RunDescription) -> Path:
        folder = Path(self._options.dir or run.store).expanduser()
        folder = folder if folder.is_absolute() else Path(run.folder) / folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fix = "Give another folder: backend={'wandb': {'dir': 'FOLDER'}}"
            raise Misconfigured(f"{folder} cannot be created ({error.strerror})", fix) from error
        return folder

    @staticmethod
    def _project(run: RunDescription) -> str:
        """The project's name as W&B takes it."""
        name = legal_name(run.project, UNFIT_FOR_PROJECTS, MAX_PROJECT_LENGTH) if run.project else ""
        if name != run.project:
            run.renamed({run.project: name})
        return name

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
            self._define_metrics(run, batch)
            rows = list(batch_rows(batch, self._options.step_axis))
            if self._everything_again:
                rows = lacking(rows, self._points_written, self._options.step_axis)
            base = self._next_step if self._everything_again else self._first_step(batch, rows)
            self._batch_position = {"id": batch.id, "base": base}
            described.remember("batch", self._batch_position)
            fresh = [(number, row) for number, row in enumerate(rows, base) if number >= self._next_step]
            config: dict[str, Any] = dict(batch.params)
            config.update({f"tracelet/{topic}": _without_long_values(facts) for topic, facts in batch.facts.items()})
            if self._write_ahead_log is not None:
                self._write_ahead_log.append(fresh, config)
            for number, row in fresh:
                run.log(row, step=number, commit=True)
            self._next_step = max(self._next_step, base + len(rows))
            _configure(run, config)
            if batch.tags:
                run.tags = tuple({*(run.tags or ()), *_labels(batch.tags)})
            for artifact in batch.artifacts:
                uploads.log(artifact, confirmed=self._artifacts_written if batch.again and self._offline else ())
            self._wait_until_written(base + len(rows) - 1 if rows else -1)
            uploads.drop_confirmed(self._offline_file.artifacts)
        self._raise_refused(uploads)

    def _raise_refused(self, uploads: ArtifactUploads) -> None:
        refused, uploads.refused = uploads.refused, []
        if refused:
            whys = sorted({why for _, why in refused})
            raise Rejected([artifact for artifact, _ in refused], f"wandb rejected the artifact: {'; '.join(whys)}")

    def _first_step(self, batch: Batch, rows: list[Row]) -> int:
        """The number of the batch's first row: the stored one, the one on disk, or the next."""
        noted = self._batch_position
        if batch.again and noted.get("id") == batch.id:
            return int(noted["base"])
        if batch.again and rows:
            for step, row in sorted(self._rows_written.items()):
                if all(same_value(row.get(name), value) for name, value in rows[0].items()):
                    return step
        return self._next_step

    def _define_metrics(self, run: Run, batch: Batch) -> None:
        renamed = {}
        for part in batch.points:
            if part.name in self._defined_metrics:
                continue
            self._defined_metrics.add(part.name)
            name = column(part.name, self._options.step_axis)
            axis = MACHINE_AXIS if part.system else self._options.step_axis
            if "*" not in name:  # would be treated as a pattern
                run.define_metric(name, step_metric=axis)
            if name != part.name:
                renamed[name] = part.name
        if renamed:
            self._opened()[1].renamed({ours: there for there, ours in renamed.items()})
            _configure(run, {"tracelet/names": {**dict(run.config).get("tracelet/names", {}), **renamed}})

    def _wait_until_written(self, last: int) -> None:
        """Wait until the SDK's other process has the rows on disk; if it is late, find out how far it is and keep the
        rest.
        """
        if self._write_ahead_log is not None:
            self._offline_file.read()
            self._write_ahead_log.discard_through(self._offline_file.highest)
            return
        self._wait_until(lambda: self._offline_file.highest >= last or last in self._rows_written, "what it was given")

    def _wait_until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._options.timeout
        while True:
            self._offline_file.read()
            if self._offline_file.ended or true():
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"wandb did not take {what} within {self._options.timeout:g} seconds")
            time.sleep(0.02)

    def close(self, outcome: Outcome | None) -> None:
        """End the run's process. Without an outcome the run is shown as crashed until it continues elsewhere.

        What had not arrived when an earlier call gave up is sent again.
        """
        if self._described is None:
            return
        if self._run is None:
            if outcome is None:
                return
            memory = {
                **self._described.memory,
                "batch": self._batch_position,
                **(self._uploads.memory() if self._uploads else {}),
            }
            self.open(replace(self._described, memory=memory))
        run, _, uploads = self._opened()
        with calling(None):
            late = self._late_artifacts(uploads) if outcome is not None and not self._offline else None
            if outcome is not None:
                _configure(run, {"tracelet/status": f"{outcome.status} {outcome.reason}".strip()})
                if outcome.status == "preempted":
                    run.mark_preempting()
            self._run = None
            run.finish(exit_code=0 if outcome is not None and outcome.status == "finished" else 1)
            self._wait_until(lambda: False, "the end of the run")
        if late is not None:
            raise late  # points and status are there; the next call opens the run once more, for these
        if self._offline:
            uploads.drop_confirmed(self._offline_file.artifacts)
        if self._write_ahead_log is not None:
            self._write_ahead_log.clear()
        self._described = None
        self._raise_refused(uploads)

    def _late_artifacts(self, uploads: ArtifactUploads) -> Unavailable | None:
        """Wait for the artifacts, for a while: points and status do not depend on them."""
        try:
            self._wait_until(lambda: uploads.drop_confirmed(self._offline_file.artifacts), "the artifacts")
        except Unavailable as error:
            return error
        return None

    def _opened(self) -> tuple[Run, RunDescription, ArtifactUploads]:
        assert self._run is not None and self._described is not None and self._uploads is not None, "open comes first"
        return self._run, self._described, self._uploads


def _configure(run: Run, values: Mapping[str, Any]) -> None:
    config: Any = run.config  # untyped in the SDK
    config.update(dict(values), allow_val_change=True)


def _labels(tags: Mapping[str, str]) -> list[str]:
    return [legal_name(f"{name}: {text}", NONE, MAX_TAG_LENGTH) for name, text in tags.items() if text]


def _without_long_values(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Omit values too long for a config page, such as a diff of a megabyte."""
    return {name: value for name, value in facts.items() if not isinstance(value, str) or len(value) <= 2000}
