"""Keeps this user's credentials from an address that only a foreign run names. Used by `sync`, on the main thread.

A credential is meant for the host that it was given for. The clients take theirs from variables and files, without
looking at the host; these are hidden from them while such a delivery runs. `~/.netrc` names hosts itself, and stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracelet.capture.environment_variables import temporary_environment
from tracelet.redaction.masking import looks_secret

CREDENTIAL_OPTIONS = frozenset({"api_key", "access_key"})
VARIABLES = (
    "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_CLIENT_CERT_PATH", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE",
    "CLEARML_API_ACCESS_KEY", "CLEARML_API_SECRET_KEY", "CLEARML_AUTH_TOKEN", "TRAINS_API_ACCESS_KEY",
    "TRAINS_API_SECRET_KEY", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
)  # fmt: skip
CREDENTIAL_FILES = {"mlflow": Path("~/.mlflow/credentials")}
"""Files without a host that a client cannot be told to leave alone."""


def without_credentials(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that hold a credential."""
    return {
        key: value for key, value in options.items() if key not in CREDENTIAL_OPTIONS and not looks_secret(str(key))
    }


def obstacle(name: str) -> str:
    """Why this backend cannot be called without the user's credential; empty if it can."""
    path = CREDENTIAL_FILES.get(name)
    if path is None or not path.expanduser().exists():
        return ""
    return (
        f"the client of {name} would send the credential in {path} to this address. If it is meant for it, name the "
        "address: MLFLOW_TRACKING_URI"
    )


@contextmanager
def withheld_credentials() -> Iterator[None]:
    """No variable and no file tells a client this user's credentials meanwhile."""
    secret = [name for name in os.environ if looks_secret(name)]
    with temporary_environment({"CLEARML_CONFIG_FILE": os.devnull}, without=[*VARIABLES, *secret]):
        yield
