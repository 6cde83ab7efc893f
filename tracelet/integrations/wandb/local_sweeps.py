"""Runs `wandb.sweep` and `wandb.agent` on this machine if wandb has no account: without network, each trial a run.

Called on the user's thread in place of the two functions. What a trial's function finds is what wandb's own agent
prepares: the parameters in a file that `wandb.init` reads, the ids in the environment, and the mode `offline`. With an
account, and for sweeps that are not ours, wandb's functions are called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tracelet.capture.environment_variables import temporary_environment
from tracelet.errors import TraceletError
from tracelet.guard import say
from tracelet.integrations.base import LocalSweeps
from tracelet.integrations.patching import Function

KEY_VARIABLES = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
DEFAULT_SERVER = "https://api.wandb.ai"
AUTO, LOCAL, OFF = "auto", "local", "off"


def has_account() -> bool:
    """Whether wandb would find a key: in the environment or in a netrc file, as it does itself."""
    if any(os.environ.get(name) for name in KEY_VARIABLES):
        return True
    import netrc

    host = urlsplit(os.environ.get("WANDB_BASE_URL") or DEFAULT_SERVER).hostname or ""
    given = os.environ.get("NETRC")
    for path in [Path(given)] if given else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        try:
            if netrc.netrc(path).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


class WandbSweeps:
    """The replacements of `wandb.sweep` and `wandb.agent`."""

    def __init__(self, mode: str, sweeps: Callable[[], LocalSweeps | None]) -> None:
        self._mode = mode
        self._sweeps = sweeps

    def around_sweep(self, original: Function) -> Function:
        """`wandb.sweep`."""

        def sweep(sweep: Any, entity: Any = None, project: Any = None, *args: Any, **kwargs: Any) -> Any:
            found = self._create(sweep, project) if self._is_local() else None
            return original(sweep, entity, project, *args, **kwargs) if found is None else found

        return sweep

    def around_agent(self, original: Function) -> Function:
        """`wandb.agent`."""

        def agent(
            sweep_id: Any, function: Any = None, entity: Any = None, project: Any = None, count: Any = None,
            *args: Any, **kwargs: Any,
        ) -> Any:  # fmt: skip
            sweeps = self._sweeps()
            ours = str(sweep_id).rpartition("/")[2]
            if sweeps is None or not callable(function) or not sweeps.has(ours):
                return original(sweep_id, function, entity, project, count, *args, **kwargs)
            return sweeps.run(ours, lambda run, values: _call(function, ours, run, values), count)

        return agent

    def _is_local(self) -> bool:
        sweeps = self._sweeps()
        return sweeps is not None and (self._mode == LOCAL or (self._mode == AUTO and not has_account()))

    def _create(self, config: Any, project: Any) -> str | None:
        sweeps = self._sweeps()
        assert sweeps is not None
        try:
            found = sweeps.create(config() if callable(config) else config, project or "")
        except TraceletError as error:
            say(f"this sweep is left to wandb: {error}")
            return None
        say(
            f"wandb has no account here: the sweep {found} runs on this machine. "
            f"Type: tracelet sweep show {found}. The setting wandb_sweeps=off leaves sweeps to wandb."
        )
        return found


def _call(function: Callable[[], Any], sweep: str, run: str, values: Mapping[str, Any]) -> None:
    """One trial, as wandb's agent runs it."""
    import wandb

    with temporary_environment(_prepared_variables(sweep, run, values)):
        wandb.teardown()
        try:
            function()
        except BaseException:
            wandb.finish(exit_code=1)
            raise
        wandb.finish()


def _prepared_variables(sweep: str, run: str, values: Mapping[str, Any]) -> dict[str, str]:
    """What wandb's agent prepares for a trial: a file with the parameters, written here, and variables that name it."""
    from wandb.sdk.lib import config_util

    path = os.path.join(os.environ.get("WANDB_DIR") or os.getcwd(), "wandb", f"sweep-{sweep}", f"config-{run}.yaml")
    save: Callable[[str, dict[str, Any]], None] = config_util.save_config_file_from_dict
    save(path, {name: {"value": value} for name, value in values.items()})
    variables = {"WANDB_RUN_ID": run, "WANDB_SWEEP_ID": sweep, "WANDB_SWEEP_PARAM_PATH": path}
    if os.environ.get("WANDB_MODE", "online") in {"online", "shared"}:
        variables["WANDB_MODE"] = "offline"
    return variables
