"""The environment in which a Python program starts recording before its first line, without knowing of it.

Used by `tracelet run` and by the controllers of sweeps. `cli/autostart/sitecustomize.py`, which Python finds on
PYTHONPATH, reads the other variable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

AUTOSTART = Path(__file__).parents[1] / "cli" / "autostart"
FIRST_PROGRAM = "*"
"""As a process: the first Python program below the command."""
NO_PROCESS = "0"
"""As a process: none, only ranks below it."""


def autostart_environment(
    options: Mapping[str, Any], process: str, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """This process's environment, with `more`, for a command in which `process` (a process id) records with these
    options.
    """
    environment = {**os.environ, **(more or {})}
    environment["PYTHONPATH"] = os.pathsep.join([str(AUTOSTART), *filter(None, [environment.get("PYTHONPATH", "")])])
    environment["TRACELET_AUTOSTART"] = f"{process} ? {json.dumps(options)}"
    return environment
