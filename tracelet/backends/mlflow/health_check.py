"""Whether MLflow responds, and with whose credentials: for `tracelet doctor`.

Sends one request, as MLflow's client would, but without MLflow, whose import takes seconds. It names the source of a
credential and never shows the credential.
"""

from __future__ import annotations

import base64
import configparser
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tracelet.backends.health_checks import check_writable, require_package
from tracelet.backends.mlflow.client_calls import check_address
from tracelet.errors import Misconfigured, Unavailable
from tracelet.redaction.masking import mask_url

CHECK_PATH = "/api/2.0/mlflow/experiments/search?max_results=1"
TIMEOUT = 10.0
"""Seconds; `doctor` itself gives up after 15."""
LOGIN = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
FILE = Path("~/.mlflow/credentials")
LOCAL = ("", "file", "sqlite")


def check(url: str, api_key: str) -> str:
    """The result, in one line. On failure raises what a backend raises."""
    require_package("mlflow", "mlflow")
    variable = os.environ.get("MLFLOW_TRACKING_URI", "")
    address = check_address(url or variable)
    where = " (given as an option)" if url else " (from MLFLOW_TRACKING_URI)" if variable else ""
    scheme = urlsplit(address).scheme
    if scheme in ("http", "https"):
        return _request(address, where, api_key)
    if not address:
        return "no address is given: MLflow's own files in the folder of the training"
    if scheme in LOCAL:
        path = unquote(address.partition(":///" if scheme == "sqlite" else "://")[2] if scheme else address)
        return (
            f"files on this machine: {check_writable(path, 'MLFLOW_TRACKING_URI=sqlite:////FOLDER/mlflow.db')}{where}"
        )
    return f"{mask_url(address)}{where}, which cannot be check_address from here"


def _request(address: str, where: str, api_key: str) -> str:
    import requests

    said, headers = _credential(address, api_key)
    found = f"{mask_url(address)}{where}, {said}"
    verify: bool | str = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        verify = False
    try:
        answer = requests.get(address.rstrip("/") + CHECK_PATH, headers=headers, timeout=TIMEOUT, verify=verify)
    except requests.RequestException as error:
        raise Unavailable(f"{found}; it does not respond ({type(error).__name__})") from error
    if answer.status_code in (401, 403):
        raise Misconfigured(f"{found}; it rejects the credential ({answer.status_code})", LOGIN)
    if answer.status_code >= 500 or answer.status_code == 429:
        raise Unavailable(f"{found}; it answers {answer.status_code} ({answer.reason})")
    if answer.status_code != 200 or not answer.text.lstrip().startswith("{"):
        fix = "Give the address that MLflow's pages have, without the part after #"
        raise Misconfigured(f"{found}; the server is not MLflow ({answer.status_code})", fix)
    return found


def _credential(address: str, api_key: str) -> tuple[str, dict[str, str]]:
    """The description of the credential, and the header: the one that MLflow's client would use among those
    available.
    """
    from requests.utils import get_netrc_auth

    if urlsplit(address).username:
        return "with the user and password in the address", {}  # requests reads them from there
    if get_netrc_auth(address):
        return "with the user and password in ~/.netrc", {}  # ... and from there, whatever the header says
    (file_user, file_password), variables = (
        _credentials_file(),
        ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    )
    own_user, own_password = ("", "") if api_key else (os.environ.get(name, "") for name in variables)
    user, password = own_user or file_user, own_password or file_password
    if user and password:
        source = "MLFLOW_TRACKING_USERNAME" if own_user else str(FILE)
        pair = base64.standard_b64encode(f"{user}:{password}".encode()).decode()
        return f"as {user!r} (from {source})", {"Authorization": f"Basic {pair}"}
    token = api_key or os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    if not token:
        return "without a credential", {}
    source = "with the api_key passed to tracelet" if api_key else "with the credential in MLFLOW_TRACKING_TOKEN"
    return source, {"Authorization": f"Bearer {token}"}


def _credentials_file() -> tuple[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(FILE.expanduser(), encoding="utf-8")
    except (OSError, configparser.Error, UnicodeDecodeError):
        return "", ""
    names = ("mlflow_tracking_username", "mlflow_tracking_password")
    user, password = (parser.get("mlflow", name, fallback="") for name in names)
    return user, password
