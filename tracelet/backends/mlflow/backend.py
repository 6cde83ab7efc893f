"""The `mlflow` backend: a run in an experiment named after the project, through `MlflowClient` only.

Called by a courier on its thread. Never uses MLflow's fluent functions or its global tracking address; the environment
variables that limit its requests are set only during a call. See `docs/backends/mlflow.md` for the mapping.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.backends.legal_names import CONTROL, legal_name
from tracelet.backends.mlflow.client_calls import calling, check_address
from tracelet.backends.mlflow.entries import Entries, Kind
from tracelet.backends.mlflow.files import RunFiles
from tracelet.backends.mlflow.health_check import check
from tracelet.backends.mlflow.metric_rows import MAX_NAME_LENGTH, Row, legal_key, metric_key, metric_rows, missing_rows
from tracelet.backends.mlflow.options import MlflowOptions
from tracelet.backends.mlflow.runs import (
    KIND,
    MAX_EXPERIMENT_NAME,
    MAX_TAG_LENGTH,
    PARENT,
    create_once,
    find_run,
    get_or_create_experiment,
    get_or_create_group,
    get_parent,
    git_tags,
)
from tracelet.backends.mlflow.timestamps import MEMORY as STAMPS
from tracelet.backends.mlflow.timestamps import UniqueTimestamps
from tracelet.backends.mlflow.traces import TraceUploader
from tracelet.errors import Misconfigured, Rejected
from tracelet.journal.records import Scalar

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

T = TypeVar("T")
Refusals = Iterator[tuple[list[Any], str]]
"""Refused records, and why."""
MOVED = "moved"

MAX_METRICS, MAX_PARAMS, MAX_TAGS = 1000, 100, 100
"""Limits of one `log_batch`."""
MAX_TAG_NAME_LENGTH = 250
PARAM_LENGTHS = (6000, 500)
"""Longest parameters: of MLflow since 2.10, and of older servers, which is tried if the first is refused."""
STATUSES = {"finished": "FINISHED", "failed": "FAILED"}


class MlflowBackend:
    """Finds its run again by the tag `tracelet.run_id`, so that there is one run even if state is lost."""

    name: ClassVar[str] = "mlflow"
    options: ClassVar[type] = MlflowOptions
    extra: ClassVar[str] = "mlflow"

    def __init__(self, options: MlflowOptions) -> None:
        self._options = options
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._run: RunDescription | None = None
        self._params: dict[str, str] = {}
        self._renamed_keys: dict[str, str] = {}
        self._ended = False
        self._stamps = UniqueTimestamps()
        self._entries: Entries | None = None
        self._traces: TraceUploader | None = None

    def check(self) -> str:
        """For `doctor`: what responds, and with whose credentials."""
        return check(self._options.url, self._options.api_key)

    def open(self, run: RunDescription) -> None:
        """Find the run or create it, and read what it already has."""
        with self._calling():
            from mlflow.tracking import MlflowClient, get_tracking_uri

            address = check_address(self._options.url or get_tracking_uri())
            self._client = client = MlflowClient(tracking_uri=address)
            experiment, parent = self._experiment_and_parent(client, _experiment_name(run))
            found = find_run(client, experiment, run) or create_once(client, experiment, run)
            if found.info.lifecycle_stage == "deleted":
                raise Misconfigured(
                    "the MLflow run was deleted", f"Type mlflow runs restore --run-id {found.info.run_id}"
                )
            if parent and found.data.tags.get(PARENT) != parent:
                client.set_tag(found.info.run_id, PARENT, parent)
        self._run, self._run_id = run, found.info.run_id
        self._params, self._ended = dict(found.data.params), found.info.status != "RUNNING"
        if "run_id" not in run.memory and self._ended_or_used(found):
            run.found()
        self._stamps = UniqueTimestamps(None if run.repair else run.memory.get(STAMPS))
        self._entries = Entries(client, self._run_id, run.id, run.memory.get(MOVED) or {})
        if self._options.spans:
            self._traces = TraceUploader(client, found.info.experiment_id, self._run_id, run, self._options.spans)
        run.remember("run_id", self._run_id)
        if address.startswith(("http://", "https://")):
            run.announce(f"{address.rstrip('/')}/#/experiments/{found.info.experiment_id}/runs/{self._run_id}")

    @staticmethod
    def _ended_or_used(found: Run) -> bool:
        """Whether somebody has delivered to this run before."""
        return bool(found.info.status != "RUNNING" or found.data.metrics or found.data.params)

    def _experiment_and_parent(self, client: MlflowClient, project: str) -> tuple[str, str]:
        """The ids of the experiment and of the parent run, if any."""
        options, tags = self._options, KIND if self._options.spans else {}
        if options.parent:
            parent = get_parent(client, options.parent)
            # MLflow's pages nest runs of one experiment.
            own = (
                get_or_create_experiment(client, options.experiment, tags)
                if options.experiment
                else parent.info.experiment_id
            )
            return own, parent.info.run_id
        experiment = get_or_create_experiment(client, options.experiment or project, tags)
        return experiment, get_or_create_group(client, experiment, options.group).info.run_id if options.group else ""

    def write(self, batch: Batch) -> None:
        """Deliver everything but files; raises what MLflow refuses at the end."""
        assert self._run is not None
        refused: list[Any] = []
        why = ""
        with self._calling():
            self._runs_again()
            moved = len(self._sending().moved)
            for records, reason in (
                *self._write_metrics(batch),
                *self._write_params(batch),
                *self._write_tags(batch),
                *(self._traces.write(batch) if self._traces is not None else ()),
            ):
                refused += records
                why = reason
            if len(self._sending().moved) > moved:
                self._run.remember(MOVED, self._sending().moved)
        if refused:
            raise Rejected(refused, why)

    def upload(self, batch: Batch) -> None:
        """Deliver files; the artifact store may refuse what the server accepts."""
        assert self._run is not None
        with self._calling():
            files = RunFiles(self._opened(), self._run_id, self._run, self._options.upload_artifacts, PARAM_LENGTHS[-1])
            files.write(batch)

    def _runs_again(self) -> None:
        """Reopen a finished run that resumes."""
        if self._ended:
            self._opened().update_run(self._run_id, status="RUNNING")
            self._ended = False

    def _write_metrics(self, batch: Batch) -> Refusals:
        assert self._run is not None
        if not batch.points:
            return
        self._stamps.begin(batch.id)
        rows = list(metric_rows(batch.points, self._stamps))
        self._run.remember(STAMPS, self._stamps.memory())
        if batch.again:
            rows = self._missing(rows)
        kind = Kind("metrics", lambda row: row.metric.key, lambda row, key: row.named(key), self._missing)
        for group in _groups(rows, MAX_METRICS):
            for refused, why in self._sending().send(kind, group):
                yield [row.record() for row in refused], why

    def _missing(self, rows: Sequence[Row]) -> list[Row]:
        return missing_rows(rows, self._opened(), self._run_id, self._sending().moved)

    def _write_params(self, batch: Batch) -> Refusals:
        if batch.again:
            self._params.update(self._opened().get_run(self._run_id).data.params)
        fresh = dict(self._new_params(batch.params, PARAM_LENGTHS[0]))
        self._params.update(fresh)
        refused = dict.fromkeys(fresh, "")
        for longest in PARAM_LENGTHS:
            tried = {key: text[:longest] for key, text in fresh.items() if key in refused}
            refused = dict(self._refused_params(tried))
            if not any(len(fresh[key]) > PARAM_LENGTHS[-1] for key in refused):
                break
        for key, why in refused.items():
            yield [{key: fresh[key]}], why

    def _refused_params(self, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        from mlflow.entities import Param

        def made(name: str, key: str) -> Param:
            return Param(key, values[name])

        for group in _groups(values, MAX_PARAMS):
            for keys, why in self._sending().send(Kind("params", str, made), group):
                yield from ((key, why) for key in keys)

    def _new_params(self, params: Mapping[str, Scalar], max_length: int) -> Iterator[tuple[str, str]]:
        """MLflow never changes a parameter: a later value becomes a new one, named `name.v2`, `name.v3` ..."""
        moved = self._sending().moved
        for name, value in params.items():
            key, text, number = legal_key(name), str(value)[:max_length], 1
            own = key
            while self._params.get(own, self._params.get(moved.get(own, own), text)) != text:
                number += 1
                own = f"{key[: MAX_NAME_LENGTH - 6]}.v{number}"
            if own not in self._params and moved.get(own, own) not in self._params:
                yield own, text

    def _write_tags(self, batch: Batch) -> Refusals:
        tags = {legal_key(name): text for name, text in batch.tags.items()}
        tags.update(git_tags(batch.facts.get("git", {})))
        tags.update(self._original_names(batch))
        tags.update({f"tracelet.artifact.{legal_key(a.name)}": a.path for a in batch.artifacts if not a.digest})
        yield from self._send_tags(tags)

    def _send_tags(self, tags: Mapping[str, str]) -> Refusals:
        from mlflow.entities import RunTag

        def made(tag: tuple[str, str], key: str) -> RunTag:
            return RunTag(key, tag[1][:MAX_TAG_LENGTH])

        kind: Kind[tuple[str, str]] = Kind("tags", lambda tag: tag[0][:MAX_TAG_NAME_LENGTH], made)
        for group in _groups(tags.items(), MAX_TAGS):
            for refused, why in self._sending().send(kind, group):
                yield [dict(refused)], why

    def _original_names(self, batch: Batch) -> dict[str, str]:
        """Tags with the original of each name that MLflow cannot store; reported too."""
        assert self._run is not None
        moved = self._sending().moved
        keys = {part.name: metric_key(part) for part in batch.points}
        keys.update({name: legal_key(name) for name in batch.params})
        there = {name: moved.get(key, key) for name, key in keys.items()}
        changed = {name: key for name, key in there.items() if key not in (name, f"system/{name}")}
        fresh = {name: key for name, key in changed.items() if self._renamed_keys.get(name) != key}
        if fresh:
            self._renamed_keys.update(fresh)
            self._run.renamed(fresh)
        return {f"tracelet.name.{key}": name for name, key in fresh.items()}

    def close(self, outcome: Outcome | None) -> None:
        """Set the run's status and end time if it is over."""
        if outcome is not None and self._client is not None:
            with self._calling():
                if self._traces is not None:
                    self._traces.close(outcome)
                status = STATUSES.get(outcome.status, "KILLED")
                self._client.set_terminated(self._run_id, status, int(outcome.ended * 1000))
                refused = list(self._send_tags({
                    "tracelet.status": outcome.status, **({"tracelet.reason": outcome.reason} if outcome.reason else {})
                }))  # fmt: skip
            self._client = None
            if refused:
                raise Rejected([record for records, _ in refused for record in records], refused[0][1])
        self._client = None

    def _opened(self) -> MlflowClient:
        assert self._client is not None, "open() comes first"
        return self._client

    def _sending(self) -> Entries:
        assert self._entries is not None, "open() comes first"
        return self._entries

    def _calling(self) -> Any:
        return calling(self._options.timeout, self._options.api_key, self._options.url)


def _experiment_name(run: RunDescription) -> str:
    """The project as MLflow takes it."""
    name = legal_name(run.project, CONTROL, MAX_EXPERIMENT_NAME)
    if name != run.project:
        run.renamed({run.project: name})
    return name


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
