"""Calls the SDK of Weights & Biases: quietly, in our folders, without prompts. Its settings, key and errors.

Used by the `wandb` backend on the courier's thread.
"""

from __future__ import annotations

import inspect
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracelet.capture.environment_variables import temporary_environment
from tracelet.errors import Misconfigured, Unavailable, Unexplained, install_command

FLUSH = 0.05
"""Seconds after which the SDK writes received data to its file; rows count as delivered when they are in it."""

ACCESS_DENIED = re.compile(r"\b(?:error|HTTP|status:?) 40[13]\b|\(40[13]\b")
"""Parts of the SDK's message if the server does not know the key, or the key lacks permission."""
VERIFICATION_FAILED = re.compile("verif")
"""The SDK also reports an authentication error if it cannot reach the server to verify the key."""


def quiet_settings(wanted: Mapping[str, Any]) -> Any:
    """The SDK's settings, with all capture of its own off. Settings that this version does not know are omitted.

    Names with `x_` began with an underscore before 0.19.
    """
    import wandb

    told = {
        "console": "off", "silent": True, "quiet": True, "show_info": False, "show_warnings": False,
        "show_errors": False, "disable_git": True, "disable_code": True, "save_code": False, "x_disable_meta": True,
        "x_disable_stats": True, "x_save_requirements": False, "x_disable_machine_info": True,
        "disable_job_creation": True, "x_transaction_log_flush_interval": FLUSH, **wanted,
    }  # fmt: skip
    known = _known()
    named = {name if name in known else name.removeprefix("x"): value for name, value in told.items()}
    return wandb.Settings(**{name: value for name, value in named.items() if name in known and value is not None})


def _known() -> set[str]:
    import wandb

    fields = getattr(wandb.Settings, "model_fields", None)
    if fields is not None:
        return set(fields)
    return {name for base in wandb.Settings.__mro__ for name in getattr(base, "__annotations__", ())}  # before 0.19


def writes_promptly() -> bool:
    """Whether the SDK writes received data soon. Before 0.30 it keeps some kilobytes until the run ends."""
    return "x_transaction_log_flush_interval" in _known()


def raises_when_late() -> bool:
    """Whether `finish` can report that not everything has arrived; other versions wait until it has."""
    return "finish_timeout_raises" in _known()


def check_key(url: str) -> None:
    """Misconfigured if the SDK would have to prompt for a key."""
    import wandb

    login: Any = wandb.login
    if "prompt" in inspect.signature(login).parameters:
        known = login(host=url or None, prompt=False)
    else:  # before 0.20
        known = wandb.api.api_key
    if not known:
        fix = "Type wandb login, or set WANDB_API_KEY, or use backend={'wandb': {'mode': 'offline'}}"
        raise Misconfigured("wandb has no API key", fix)


def reinit_mode() -> Any:
    """The setting that keeps other runs unaffected. Before 0.19.10 a process had one run at a time."""
    import wandb

    return "create_new" if tuple(map(int, re.findall(r"\d+", wandb.__version__)[:3])) >= (0, 19, 10) else True


def await_free_folder(folder: Path, run_id: str) -> None:
    """The SDK names a run's folder by the second, and would overwrite what an earlier courier left in this one."""
    while any(folder.glob(f"wandb/*run-{time.strftime('%Y%m%d_%H%M%S')}-{run_id}")):
        time.sleep(0.05)


def account_variables(url: str, api_key: str) -> dict[str, str]:
    """Variables for versions before 0.20, which do not take a key as a setting."""
    import wandb

    if "prompt" in inspect.signature(wandb.login).parameters:
        return {}
    told = {"WANDB_BASE_URL": url, "WANDB_API_KEY": api_key}
    return {name: value for name, value in told.items() if value}


@contextmanager
def calling(folder: Path | None) -> Iterator[None]:
    """Run SDK code in this block: its files stay in our folder, its errors become ours."""
    kinds = ("CACHE", "DATA", "ARTIFACT") if folder else ()
    places = {f"WANDB_{kind}_DIR": str(folder / "wandb" / kind.lower()) for kind in kinds if folder}
    places["WANDB_ERROR_REPORTING"] = "false"  # the SDK's own error reports have no place in a training
    places["WANDB_SILENT"] = "true"  # some versions print before they have read their settings
    try:
        import wandb.errors
    except ImportError as error:
        raise Misconfigured(f"wandb cannot be imported ({error})", f"Type {install_command('wandb')}") from error
    try:
        with temporary_environment({name: place for name, place in places.items() if name not in os.environ}):
            yield
    except wandb.errors.UsageError as error:
        if folder is None:  # of a run that is open: what it was given, not who gave it
            raise Unexplained(f"wandb refuses ({first_line(error)})") from error
        raise _as_misconfigured(error) from error
    except (wandb.errors.Error, OSError, TimeoutError) as error:
        unreached = not isinstance(error, wandb.errors.AuthenticationError) or VERIFICATION_FAILED.search(str(error))
        if unreached and not ACCESS_DENIED.search(str(error)):
            raise Unavailable(f"wandb does not respond ({first_line(error)})") from error
        raise _as_misconfigured(error) from error


def _as_misconfigured(error: Exception) -> Misconfigured:
    fix = "Type wandb login, or set WANDB_API_KEY; WANDB_BASE_URL is the server's address"
    return Misconfigured(f"wandb rejects the request ({first_line(error)})", fix)


def first_line(error: BaseException) -> str:
    """The error's message, shortened."""
    return str(error).strip().partition("\n")[0][:300]
