"""The `mlflow` backend: a run in an experiment named after the project, through `MlflowClient` alone.

Called by a courier on its thread. Never uses MLflow's fluent functions or its global tracking address; the environment
variables that bound its requests are set only while a call is made. See `docs/backends/mlflow.md` for what goes where.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec

from tracelet.backends.artifact_files import laid_out
from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.backends.mlflow.client_calls import calling, checked
from tracelet.backends.mlflow.health_check import check
from tracelet.backends.mlflow.metric_rows import LONGEST_NAME, legal_key, metric_rows, missing
from tracelet.backends.mlflow.runs import (
    KIND,
    LONGEST_TAG,
    PARENT,
    create,
    experiment_of,
    find,
    git_tags,
    group_of,
    parent_of,
)
from tracelet.backends.mlflow.traces import Traces
from tracelet.errors import Misconfigured, Rejected
from tracelet.journal.records import Artifact, Scalar

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

T = TypeVar("T")

MOST_METRICS, MOST_PARAMS, MOST_TAGS = 1000, 100, 100
"""What one `log_batch` takes."""
LONGEST_TAG_NAME = 250
PARAM_LENGTHS = (6000, 500)
"""Longest parameters: of MLflow since 2.10, and of older servers, which are tried where the first is refused."""
STATUSES = {"finished": "FINISHED", "failed": "FAILED"}


@dataclass(frozen=True)
class MlflowOptions:
    """Settings of the backend `mlflow`."""

    url: str = ""
    """Tracking URI: `http://HOST:PORT`, `sqlite:///FILE`, `databricks`, ... If empty, MLFLOW_TRACKING_URI."""
    api_key: str = ""
    """Bearer token of the server. If empty, MLFLOW_TRACKING_TOKEN. Never stored."""
    experiment: str = ""
    """MLflow experiment of the run. If empty, the parent's experiment, otherwise the project."""
    parent: str = ""
    """Id of an MLflow run to nest this one under."""
    group: str = ""
    """Name of a parent run to nest this one under, e.g. for a sweep; it is created if it does not exist."""
    spans: str = ""
    """Spans to send as MLflow 3 traces: `outline` (all except iterations), `all`, or names. If empty, none."""
    timeout: float = 20.0
    """Timeout of one request in seconds."""
    upload_artifacts: bool = True
    """Whether to upload artifact files."""


class MlflowBackend:
    """Finds its run again by the tag `tracelet.run_id`, so that it is one even where memory is lost."""

    name: ClassVar[str] = "mlflow"
    options: ClassVar[type] = MlflowOptions
    extra: ClassVar[str] = "mlflow"

    def __init__(self, options: MlflowOptions) -> None:
        self._options = options
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._run: RunDescription | None = None
        self._params: dict[str, str] = {}
        self._named: set[str] = set()
        self._traces: Traces | None = None

    def check(self) -> str:
        """For `doctor`: what answers, and with whose credentials."""
        return check(self._options.url, self._options.api_key)

    def open(self, run: RunDescription) -> None:
        """Find the run or create it, and learn what it has already."""
        with self._calling():
            from mlflow.tracking import MlflowClient, get_tracking_uri

            address = checked(self._options.url or get_tracking_uri())
            self._client = client = MlflowClient(tracking_uri=address)
            experiment, parent = self._place(client, run.project)
            found = find(client, experiment, run) or create(client, experiment, run)
            if found.info.lifecycle_stage == "deleted":
                raise Misconfigured(
                    "the MLflow run was deleted", f"Type mlflow runs restore --run-id {found.info.run_id}"
                )
            if found.info.status != "RUNNING":
                client.update_run(found.info.run_id, status="RUNNING")
            if parent and found.data.tags.get(PARENT) != parent:
                client.set_tag(found.info.run_id, PARENT, parent)
        self._run, self._run_id = run, found.info.run_id
        self._params = dict(found.data.params)
        if self._options.spans:
            self._traces = Traces(client, found.info.experiment_id, self._run_id, run, self._options.spans)
        run.remember("run_id", self._run_id)
        if address.startswith(("http://", "https://")):
            run.announce(f"{address.rstrip('/')}/#/experiments/{found.info.experiment_id}/runs/{self._run_id}")

    def _place(self, client: MlflowClient, project: str) -> tuple[str, str]:
        """The ids of the experiment and of the run to nest ours under, if any."""
        options, tags = self._options, KIND if self._options.spans else {}
        if options.parent:
            parent = parent_of(client, options.parent)
            # MLflow's pages nest runs of one experiment.
            own = experiment_of(client, options.experiment, tags) if options.experiment else parent.info.experiment_id
            return own, parent.info.run_id
        experiment = experiment_of(client, options.experiment or project, tags)
        return experiment, group_of(client, experiment, options.group).info.run_id if options.group else ""

    def write(self, batch: Batch) -> None:
        """Deliver everything that MLflow has a place for; what it refuses is raised at the end."""
        refused: list[Any] = []
        why = ""
        with self._calling():
            for records, reason in (
                *self._write_metrics(batch),
                *self._write_params(batch),
                *self._write_tags(batch),
                *self._write_files(batch),
                *(self._traces.write(batch) if self._traces is not None else ()),
            ):
                refused += records
                why = reason
        if refused:
            raise Rejected(refused, why)

    def _write_metrics(self, batch: Batch) -> Iterator[tuple[list[Any], str]]:
        rows = list(metric_rows(batch.points))
        if batch.again:
            rows = missing(rows, self._opened(), self._run_id)
        for group in _groups(rows, MOST_METRICS):
            metrics = [row.metric for row in group]
            if why := self._refusal(metrics=metrics):
                bad = [row for row in group if self._refusal(metrics=[row.metric])]
                yield [row.record() for row in bad], why

    def _write_params(self, batch: Batch) -> Iterator[tuple[list[Any], str]]:
        from mlflow.entities import Param

        if batch.again:
            self._params.update(self._opened().get_run(self._run_id).data.params)
        fresh = dict(self._fresh(batch.params, PARAM_LENGTHS[0]))
        for group in _groups(fresh.items(), MOST_PARAMS):
            if self._refusal(params=[Param(key, value) for key, value in group]):
                yield from self._one_by_one(dict(group))
        self._params.update(fresh)
        for name, value in batch.params.items():
            if len(str(value)) > PARAM_LENGTHS[-1]:
                self._opened().log_text(self._run_id, str(value), f"tracelet/params/{legal_key(name)}.txt")

    def _fresh(self, params: Mapping[str, Scalar], longest: int) -> Iterator[tuple[str, str]]:
        """MLflow never changes a parameter: a later value goes beside it, as `name.v2`, `name.v3` ..."""
        for name, value in params.items():
            key, text, number = legal_key(name), str(value)[:longest], 1
            own = key
            while self._params.get(own, text) != text:
                number += 1
                own = f"{key[: LONGEST_NAME - 6]}.v{number}"
            if own not in self._params:
                yield own, text

    def _one_by_one(self, params: Mapping[str, str]) -> Iterator[tuple[list[Any], str]]:
        from mlflow.entities import Param

        for key, value in params.items():
            why = ""
            for longest in PARAM_LENGTHS:
                if not (why := self._refusal(params=[Param(key, value[:longest])])):
                    break
            if why:
                yield [{key: value}], why

    def _write_tags(self, batch: Batch) -> Iterator[tuple[list[Any], str]]:
        from mlflow.entities import RunTag

        tags = {legal_key(name): text for name, text in batch.tags.items()}
        tags.update(git_tags(batch.facts.get("git", {})))
        tags.update({f"tracelet.name.{key}": name for key, name in self._renamed(batch)})
        tags.update({f"tracelet.artifact.{legal_key(a.name)}": a.path for a in batch.artifacts if not a.digest})
        for group in _groups(tags.items(), MOST_TAGS):
            made = [RunTag(key[:LONGEST_TAG_NAME], text[:LONGEST_TAG]) for key, text in group]
            if why := self._refusal(tags=made):
                yield [{tag.key: tag.value} for tag in made if self._refusal(tags=[tag])], why

    def _renamed(self, batch: Batch) -> Iterator[tuple[str, str]]:
        for name in {*(part.name for part in batch.points), *batch.params} - self._named:
            self._named.add(name)
            if (key := legal_key(name)) != name:
                yield key, name

    def _write_files(self, batch: Batch) -> Iterator[tuple[list[Any], str]]:
        client = self._opened()
        for topic, facts in batch.facts.items():
            if diff := facts.get("diff"):
                client.log_text(self._run_id, str(diff), f"tracelet/{topic}.diff")
            rest = {name: value for name, value in facts.items() if name != "diff"}
            client.log_text(self._run_id, _json(rest), f"tracelet/{topic}.json")
        if batch.events:
            lines = "".join(_json(event, indent=None) + "\n" for event in batch.events)
            client.log_text(self._run_id, lines, f"tracelet/events/{batch.id.replace(':', '-')}.jsonl")
        for artifact in batch.artifacts:
            if artifact.digest and self._options.upload_artifacts and (why := self._upload(artifact)):
                yield [artifact], why

    def _upload(self, artifact: Artifact) -> str:
        assert self._run is not None
        try:
            with laid_out(self._run, artifact) as folder:
                self._opened().log_artifacts(self._run_id, str(folder))
        except FileNotFoundError as error:
            return f"the copy of {artifact.name!r} is gone from the store ({error})"
        return ""

    def _refusal(self, **entries: Any) -> str:
        """Log; why MLflow refuses the entries as they are, or nothing."""
        from mlflow.exceptions import MlflowException

        try:
            self._opened().log_batch(self._run_id, **entries)
        except MlflowException as error:
            if error.error_code not in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
                raise
            return str(error.message)
        return ""

    def close(self, outcome: Outcome | None) -> None:
        """Set the run's status and end time, if it is over."""
        if outcome is not None and self._client is not None:
            with self._calling():
                if self._traces is not None:
                    self._traces.close(outcome)
                status = STATUSES.get(outcome.status, "KILLED")
                self._client.set_tag(self._run_id, "tracelet.status", outcome.status)
                if outcome.reason:
                    self._client.set_tag(self._run_id, "tracelet.reason", outcome.reason[:LONGEST_TAG])
                self._client.set_terminated(self._run_id, status, int(outcome.ended * 1000))
        self._client = None

    def _opened(self) -> MlflowClient:
        assert self._client is not None, "open() comes first"
        return self._client

    def _calling(self) -> Any:
        return calling(self._options.timeout, self._options.api_key, self._options.url)


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def _json(value: Any, indent: int | None = 2) -> str:
    return json.dumps(msgspec.to_builtins(value, enc_hook=str), indent=indent, default=str)
