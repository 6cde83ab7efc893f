"""Checks shared by the `check()` of several backends: whether a package is installed, whether a path is writable.

Used for `tracelet doctor`, never by a courier. Imports no SDK, creates no file, and shows no credential.
"""

from __future__ import annotations

import os
import socket
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from tracelet.errors import Misconfigured, Unavailable, install_command
from tracelet.redaction.masking import mask_url

TIMEOUT = 5.0
"""Seconds for a server to respond."""


def require_package(package: str, extra: str) -> None:
    """Misconfigured if the package cannot be found; does not import it."""
    try:
        found = find_spec(package)
    except (ImportError, ValueError):  # its parent is missing, or it was removed from sys.modules
        found = None
    if found is None:
        raise Misconfigured(f"the package {package} is not installed", f"Type {install_command(extra)}")


def check_writable(path: str | Path, otherwise: str) -> str:
    """The absolute path, if files can be created there or below; Misconfigured if not. `otherwise`: what to set
    instead.

    A relative path is relative to the training's folder; here, to the folder in which `doctor` runs.
    """
    place = Path(path).expanduser().absolute()
    nearest = next(one for one in (place, *place.parents) if one.exists())
    needed = os.W_OK | os.X_OK if nearest.is_dir() else os.W_OK
    if not os.access(nearest, needed) or (nearest != place and not nearest.is_dir()):
        raise Misconfigured(f"{nearest} cannot be written", f"Give another place: {otherwise}")
    return str(place)


def check_listening(address: str, port: int) -> str:
    """The address without its password, if something listens there; Unavailable if not."""
    parts, shown = urlsplit(address), mask_url(address)
    try:
        with socket.create_connection((parts.hostname or "localhost", parts.port or port), timeout=TIMEOUT):
            return shown
    except (OSError, ValueError) as error:
        raise Unavailable(f"nothing listens at {shown} ({error})") from error
