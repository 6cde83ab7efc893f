"""Finds the MLflow run by its id or by our tag, or creates it, in its experiment and below its parent run.

Used by the `mlflow` backend on the courier's thread, inside `calling`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracelet.backends.base import RunDescription
from tracelet.backends.mlflow.metric_rows import legal_key
from tracelet.errors import Misconfigured

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

RUN_ID, GROUP = "tracelet.run_id", "tracelet.group"
CREATED = "tracelet.created"
"""The time at which we created the run, in nanoseconds: its start time is the training's, whoever delivers it."""
MAX_EXPERIMENT_NAME = 500
PARENT = "mlflow.parentRunId"
"""MLflow's pages nest one run below another by this tag."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow 3 treats an experiment with traces as a chat application and opens it at another page."""
MAX_TAG_LENGTH = 5000


def get_or_create_experiment(client: MlflowClient, name: str, tags: Mapping[str, str]) -> str:
    """The id of the experiment with this name, created if it does not exist."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, tags=dict(tags) or None))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(name)  # another run of the project has created it in the meantime
    if found is None or found.lifecycle_stage == "deleted":
        fix = f"Type mlflow experiments restore --experiment-id {found.experiment_id if found else '?'}"
        raise Misconfigured(f"the MLflow experiment {name!r} was deleted", fix)
    return str(found.experiment_id)


def get_parent(client: MlflowClient, run_id: str) -> Run:
    """The parent run. Misconfigured if none has this id."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        fix = "Give the id of a run of this server: backend={'mlflow': {'parent': ID}}"
        raise Misconfigured(f"there is no MLflow run {run_id!r} to nest this one under", fix) from error


def get_or_create_group(client: MlflowClient, experiment: str, name: str) -> Run:
    """The run that represents a group: the oldest with our tag, so that two that are created at once become one."""
    key = legal_key(name).replace("'", "_")
    if (known := _oldest(client, experiment, key)) is not None:
        return known
    made = client.create_run(experiment, tags={GROUP: key, "mlflow.source.type": "LOCAL"}, run_name=name)
    client.set_terminated(made.info.run_id, "FINISHED")  # it trains nothing itself
    first = _oldest(client, experiment, key) or made
    if first.info.run_id != made.info.run_id:
        client.delete_run(made.info.run_id)
    return first


def _oldest(client: MlflowClient, experiment: str, key: str) -> Run | None:
    order = ["attributes.start_time ASC"]
    found = client.search_runs([experiment], f"tags.`{GROUP}` = '{key}'", order_by=order, max_results=1)
    return found[0] if found else None


def find_run(client: MlflowClient, experiment: str, run: RunDescription) -> Run | None:
    """The run that an earlier `open` created."""
    from mlflow.exceptions import MlflowException

    if known := run.memory.get("run_id"):
        try:
            return client.get_run(str(known))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return _first(client, experiment, run)


def _first(client: MlflowClient, experiment: str, run: RunDescription) -> Run | None:
    """The oldest run with our tag that is not deleted, else a deleted one."""
    from mlflow.entities import ViewType

    wanted = f"tags.`{RUN_ID}` = '{run.id}'"
    found = client.search_runs([experiment], wanted, run_view_type=ViewType.ALL)
    return min(found, key=_age, default=None)


def _age(run: Run) -> tuple[bool, int, str]:
    made = run.data.tags.get(CREATED, "")
    return run.info.lifecycle_stage == "deleted", int(made) if made.isdecimal() else 0, run.info.run_id


def create_once(client: MlflowClient, experiment: str, run: RunDescription) -> Run:
    """A new run, or the oldest one if another copy of the store has created one at the same time."""
    made = create_run(client, experiment, run)
    first = _first(client, experiment, run) or made
    if first.info.run_id != made.info.run_id:
        client.delete_tag(made.info.run_id, RUN_ID)  # a deleted run of ours would look as if a user had deleted it
        client.delete_run(made.info.run_id)
    return first


def create_run(client: MlflowClient, experiment: str, run: RunDescription) -> Run:
    """A new run, with the data that MLflow's pages show about its source."""
    environment = run.environment.get("platform") or {}
    tags = {
        RUN_ID: run.id, "mlflow.source.name": " ".join(run.command)[:MAX_TAG_LENGTH], "mlflow.source.type": "LOCAL",
        "mlflow.user": str(environment.get("user", "")), "mlflow.runName": run.name, "tracelet.host": run.host,
        "tracelet.folder": run.folder, CREATED: str(time.time_ns()), **git_tags(run.git),
    }  # fmt: skip
    return client.create_run(
        experiment, start_time=int(run.started * 1000), tags={name: text for name, text in tags.items() if text},
        run_name=run.name or None,
    )  # fmt: skip


def git_tags(git: Mapping[str, Any]) -> dict[str, str]:
    """The state of the code, under MLflow's own names."""
    remotes = git.get("remotes") or {}
    url = remotes.get("origin") or next(iter(remotes.values()), "")
    found = {"commit": git.get("commit"), "branch": git.get("branch"), "repoURL": url}
    return {f"mlflow.source.git.{name}": str(text) for name, text in found.items() if text}
