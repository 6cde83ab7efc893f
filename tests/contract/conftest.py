"""What contract tests share: one MLflow server for all of them, because it takes long to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.mlflow_server import MlflowServer, mlflow_server


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """An MLflow server; tests keep apart by experiment."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow-server")) as server:
        yield server
