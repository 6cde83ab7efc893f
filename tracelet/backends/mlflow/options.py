"""Settings of the backend `mlflow`. From the docstrings here, documentation and help are generated."""

from __future__ import annotations

from dataclasses import dataclass


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
