"""The SDKs' own environment variables as options of our backends, with the meaning that they have for the SDK.

Called when a run's backends are resolved, in the process of the training or of a command. Imports no SDK and changes no
environment. Variables that an SDK reads itself, such as addresses and credentials, are not repeated here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

OFF_WORDS = frozenset({"", "0", "false", "no", "off", "n"})
OFFLINE = {"dryrun": "offline", "offline": "offline", "shared": "shared", "online": "online", "run": "online"}
"""The values of WANDB_MODE besides `disabled`: the option `mode`."""
OPTIONS: dict[str, dict[str, str]] = {
    "wandb": {
        "dir": "WANDB_DIR", "entity": "WANDB_ENTITY", "group": "WANDB_RUN_GROUP", "job_type": "WANDB_JOB_TYPE",
        "notes": "WANDB_NOTES",
    },
    "clearml": {"dir": "CLEARML_CACHE_DIR"},
    "mlflow": {"experiment": "MLFLOW_EXPERIMENT_NAME", "timeout": "MLFLOW_HTTP_REQUEST_TIMEOUT"},
}  # fmt: skip
"""Backend to option to the variable that sets it."""


def options_from(backend: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The options of this backend from the environment; the user's own tracelet options override them."""
    found = {option: environment.get(name, "") for option, name in OPTIONS.get(backend, {}).items()}
    if backend == "wandb":
        found["mode"] = OFFLINE.get(environment.get("WANDB_MODE", "").strip().lower(), "")
    elif backend == "clearml" and _true(environment, "CLEARML_OFFLINE_MODE", "TRAINS_OFFLINE_MODE"):
        found["mode"] = "offline"
    return {option: value for option, value in found.items() if value}


def switched_off(backend: str, environment: Mapping[str, str] = os.environ) -> str:
    """The variable that turns this SDK off, with its value; empty if none does."""
    if backend == "wandb":
        if environment.get("WANDB_MODE", "").strip().lower() == "disabled":
            return "WANDB_MODE=disabled"
        if _true(environment, "WANDB_DISABLED"):
            return f"WANDB_DISABLED={environment['WANDB_DISABLED']}"
    return ""


def _true(environment: Mapping[str, str], *names: str) -> bool:
    word = next((environment[name] for name in names if name in environment), "")
    return word.strip().lower() not in OFF_WORDS
