"""The points that an MLflow run has. Used by `tracelet verify`."""

from __future__ import annotations

from collections import Counter

from tracelet.backends.base import RunDescription, SeriesPart
from tracelet.backends.mlflow.backend import MOVED
from tracelet.backends.mlflow.client_calls import calling, check_address
from tracelet.backends.mlflow.metric_rows import MAX_VALUE, metric_key
from tracelet.backends.mlflow.options import MlflowOptions
from tracelet.backends.remote_points import Point, RemotePoints, text
from tracelet.errors import Misconfigured


def remote_points(options: MlflowOptions, run: RunDescription) -> RemotePoints:
    """Every point of the run. Misconfigured if nothing was delivered."""
    run_id = str(run.memory.get("run_id", ""))
    if not run_id:
        raise Misconfigured("nothing was delivered to MLflow", f"Type: tracelet sync {run.id} --backend mlflow")
    moved = run.memory.get(MOVED) or {}
    with calling(options.timeout, options.api_key, options.url):
        from mlflow.tracking import MlflowClient, get_tracking_uri

        client = MlflowClient(tracking_uri=check_address(options.url or get_tracking_uri()))
        series = {
            key: Counter((one.step, text(one.value)) for one in client.get_metric_history(run_id, key))
            for key in client.get_run(run_id).data.metrics
        }

    def place(part: SeriesPart, step: int, value: float) -> tuple[str, Point]:
        key = metric_key(part)
        return moved.get(key, key), (step, text(max(-MAX_VALUE, min(MAX_VALUE, value)) if value == value else value))

    return RemotePoints(series, place)
