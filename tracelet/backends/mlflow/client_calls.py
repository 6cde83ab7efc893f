"""Calls MLflow with short timeouts and without its own retries, and translates its errors into ours.

Used by the `mlflow` backend around every verb, on the courier's thread. It restores the environment variables from
which MLflow reads these settings afterwards.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from tracelet.capture.environment_variables import temporary_environment
from tracelet.errors import Misconfigured, Rejected, Unavailable, Unexplained, install_command

REFUSED_CREDENTIALS = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"})

PACKAGES = {"MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary", "psycopg": "'psycopg[binary]'"}
"""Database drivers whose package name differs from their import name."""
HOST_AND_PORT = re.compile(r"[\w.-]+:\d{2,5}/?")
PASSING = frozenset({"TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "ABORTED", "CANCELLED"})
UNREACHED = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|Connection (?:refused|reset|aborted)|RemoteDisconnected|timed out|"
    r"NameResolutionError|too many (?:429|408|502|503|504) error|error code (?:429|408|502|503|504)|SSLError|ProxyError"
)
"""MLflow reports an outage by the text of the exception from requests."""
OLD_STORE = "filesystem tracking backend"
"""Part of MLflow's message since 3.17 when its tracking URI is a folder."""
UNKNOWN_ADDRESS = frozenset({"UnsupportedModelRegistryStoreURIException", "UnsupportedTrackingStoreURIException"})
"""Private names of MLflow, because no public name leads there."""


@contextmanager
def calling(timeout: float, token: str = "", url: str = "") -> Iterator[None]:
    """Run MLflow code in this block: raises `Unavailable` and `Misconfigured` instead of MLflow's exceptions."""
    with _environment(timeout, token, url):
        try:
            import mlflow.exceptions
            import requests
            import sqlalchemy.exc
        except ImportError as error:
            raise Misconfigured(f"MLflow cannot be imported ({error})", f"Type {install_command('mlflow')}") from error
        try:
            yield
        except mlflow.exceptions.MlflowException as error:
            raise _as_own_error(error) from error
        except (Unavailable, Misconfigured, Rejected):
            raise
        except (requests.RequestException, sqlalchemy.exc.OperationalError, ValueError) as error:
            # ValueError: a response that is not JSON, from a gateway in front of the server.
            raise Unavailable(f"MLflow does not respond as expected ({_first_line(error)})") from error
        except ModuleNotFoundError as error:
            package = PACKAGES.get(str(error.name), error.name)
            raise Misconfigured(f"MLflow lacks a package ({error})", f"Type pip install {package}") from error


def check_address(address: str) -> str:
    """The tracking URI; Misconfigured if it is a server without its scheme, which MLflow treats as a folder."""
    if HOST_AND_PORT.fullmatch(address):
        raise Misconfigured(
            f"the tracking URI {address} would be taken for a folder", f"Type http://{address} for a server"
        )
    return address


def _as_own_error(error: Exception) -> Exception:
    code, line = str(getattr(error, "error_code", "")), _first_line(error)
    if type(error).__name__ in UNKNOWN_ADDRESS:
        return Misconfigured(f"the tracking URI is invalid ({line})", "Give backend={'mlflow': {'url': ...}}")
    if code in REFUSED_CREDENTIALS:
        fix = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return Misconfigured(f"the MLflow server rejects the credentials ({line})", fix)
    if OLD_STORE in line:
        fix = "Give sqlite:///mlflow.db or a server as tracking URI, or set MLFLOW_ALLOW_FILE_STORE=true"
        return Misconfigured("this version of MLflow no longer writes to folders", fix)
    if code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"):
        return Misconfigured(f"MLflow refuses ({line})", "Check that the run and its experiment still exist")
    kind = Unavailable if code in PASSING or UNREACHED.search(str(error)) else Unexplained
    return kind(f"MLflow does not respond ({line})")


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return text if len(text) <= 300 else text[:300] + "..."


@contextmanager
def _environment(timeout: float, token: str, url: str) -> Iterator[None]:
    wanted = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(timeout))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the courier retries, and knows for how long
        "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": os.environ.get("MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT", "300"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        **({"MLFLOW_TRACKING_TOKEN": token} if token else {}),
        **({"MLFLOW_TRACKING_URI": url} if url else {}),  # older versions upload to this one, whatever the client says
    }
    unwanted = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD") if token else ()  # they would take precedence
    with temporary_environment(wanted, unwanted):
        yield
