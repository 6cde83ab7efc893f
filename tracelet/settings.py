"""One table of settings, and where each value comes from: arguments > TRACELET_* > [tool.tracelet] > defaults.

Read once by `start_logging()` on the user's thread, and by the command line. Never changes the environment. A key
that is not in the table, or an invalid value, is a `SettingsError` that names the closest known key and the source of
the value.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracelet.errors import SettingsError
from tracelet.setting_values import (
    as_addresses,
    as_backends,
    as_bool,
    as_choice,
    as_count,
    as_names,
    as_rules,
    as_seconds,
    as_text,
)  # fmt: skip

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BACKEND_TABLES = "mlflow", "wandb", "clearml", "tensorboard", "aim", "otlp", "onelogger", "jsonl"
"""Keys of `config` that hold a table of one backend's options instead of one value; plug-ins add theirs."""


@dataclass(frozen=True)
class Setting:
    """One row of the table. `parse` turns what the user wrote into the value, or raises ValueError("expected ...")."""

    name: str
    default: Any
    parse: Callable[[object], Any]
    doc: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "TRACELET_" + self.name.upper()


TABLE: tuple[Setting, ...] = (
    Setting("experiment_name", "", as_text, "Name of the run. If empty, the name of the script."),
    Setting("project", "default", as_text, "Project of the run."),
    Setting("backend", "", as_backends, "Names of the backends to deliver to: a list, or separated by commas."),
    Setting("api_key", "", as_text, "API key of the backend, if there is exactly one backend. Never stored."),
    Setting("backend_url", "", as_text, "URL of the backend's server, if there is exactly one backend."),
    Setting("run_id", "", as_text, "Id of the run. If a run with this id exists, it resumes."),
    Setting("resume", "", as_text, "Run to resume: its id or name, or `auto` for the run that this job started."),
    Setting("dir", "", as_text, "Folder of the store. If empty, `.tracelet` in the working directory."),
    Setting("enabled", True, as_bool, "If false, nothing is recorded and every call is a no-op."),
    Setting("track_lightning", True, as_bool, "Record what Lightning computes: metrics, hyperparameters, checkpoints."),
    Setting("track_tensorboard", True, as_bool,
            "Record scalars, hyperparameters and texts that are given to a SummaryWriter."),
    Setting("track_transformers", True, as_bool,
            "Record what Hugging Face's Trainer logs, its arguments and checkpoints."),
    Setting("track_accelerate", True, as_bool,
            "Record what `Accelerator.log` is given, its setup and its saved states."),
    Setting("track_ignite", True, as_bool, "Record metrics, numeric outputs and checkpoints of ignite's engines."),
    Setting("track_skorch", True, as_bool, "Record the history, parameters and checkpoints of skorch's nets."),
    Setting("track_wandb", True, as_bool, "Record what the program itself gives to wandb."),
    Setting("wandb_sweeps", "auto", as_choice("auto", "local", "off"),
            "Run sweeps of the program's wandb on this machine: `auto` (if wandb has no account), `local`, or `off`."),
    Setting("track_mlflow", True, as_bool, "Record what the program itself gives to MLflow."),
    Setting("track_clearml", True, as_bool, "Record what the program itself reports to ClearML."),
    Setting("track_aim", True, as_bool, "Record what the program itself gives to Aim."),
    Setting("track_trackio", True, as_bool, "Record what the program itself logs to trackio."),
    Setting("track_torch", True, as_bool, "Record the creation of data loaders, optimizers and process groups."),
    Setting("track_profilers", True, as_bool, "Keep the reports and traces of Lightning's and PyTorch's profilers."),
    Setting("track_argparse", True, as_bool, "Record the arguments that `argparse` parses as parameters."),
    Setting("track_click", True, as_bool, "Record the parameters of the `click` commands that run."),
    Setting("track_typer", True, as_bool, "Record the parameters of the Typer commands that run."),
    Setting("track_hydra", True, as_bool, "Record Hydra's configuration, and each job of `--multirun` as a run."),
    Setting("track_omegaconf", True, as_bool, "Record configurations that the program loads with OmegaConf."),
    Setting("track_jsonargparse", True, as_bool, "Record what `jsonargparse` and LightningCLI parse and save."),
    Setting("track_tyro", True, as_bool, "Record what `tyro.cli()` parses as parameters."),
    Setting("track_simple_parsing", True, as_bool, "Record what `simple_parsing` parses as parameters."),
    Setting("track_absl", True, as_bool, "Record the program's `absl.flags` as parameters."),
    Setting("track_fire", True, as_bool, "Record the arguments of the calls that Python Fire makes."),
    Setting("track_system", True, as_bool, "Sample machine metrics: CPU, memory, disk, network, GPU."),
    Setting("track_git", True, as_bool, "Record the commit, the branch and the uncommitted diff."),
    Setting("track_env", True, as_bool, "Record the Python version, packages, command and platform."),
    Setting("track_console", True, as_bool, "Record the console output of the program, as a terminal shows it."),
    Setting("track_learning_rate", True, as_bool, "Record the learning rate of every parameter group at every step."),
    Setting("track_gradients", False, as_bool, "Record the norm of the gradients at every optimizer step."),
    Setting("track_backward_loss", False, as_bool, "Record the value that backward() is called on, in plain PyTorch."),
    Setting("track_spans", True, as_bool, "Record spans: data loading, forward, backward, optimizer, ..."),
    Setting("telemetry_interval", 50, as_count, "Training iterations between two summaries of throughput and times."),
    Setting("spans", "all", as_names, "Names of the spans to deliver and export: `all`, or a list."),
    Setting("spans_deny", "", as_names, "Names of spans not to deliver or export; their children move up."),
    Setting("metrics_interval", 10.0, as_seconds, "Seconds between two samples of the machine metrics."),
    Setting("flush_interval", 0.5, as_seconds, "Maximum seconds between logging a point and writing it to disk."),
    Setting("media_memory", 256, as_count, "Megabytes of media that may wait; if more wait, some are dropped."),
    Setting("delivery", "agent", as_choice("agent", "inline", "off"),
            "How to deliver to backends: `agent` (a separate process), `inline` (a thread), or `off` (only with "
            "`tracelet sync`)."),
    Setting("agent_linger", 600.0, as_seconds,
            "Seconds that the agent keeps trying to deliver after the training ends."),
    Setting("gather_nodes", True, as_bool,
            "Copy what other nodes record to rank 0's node, if they do not share the store."),
    Setting("rank_deadline", 30.0, as_seconds, "Seconds that the delivery of a step waits for a late rank."),
    Setting("stop_timeout", 60.0, as_seconds, "Maximum seconds that stop_logging() waits for pending deliveries."),
    Setting("alerts", "", as_addresses,
            "Where alerts go: addresses of apprise (slack://..., json://host), separated by spaces. Never stored."),
    Setting("alert_rules", "failed,killed", as_rules,
            "When to send an alert: finished, failed, killed, nan, stalled:MINUTES, val/loss>10, acc*<0.1, ..."),
    Setting("explain", False, as_bool, "Print at the end, library by library, what was found, patched and recorded."),
    Setting("quiet", False, as_bool, "Print nothing when a run starts and stops."),
)  # fmt: skip

BY_NAME: dict[str, Setting] = {setting.name: setting for setting in TABLE}


class Settings(Mapping[str, Any]):
    """The effective values, as a mapping and as attributes; `sources` has the origin of each one.

    `tables` holds the options of each backend that was given any.
    """

    def __init__(self, values: dict[str, Any], sources: dict[str, str], tables: dict[str, dict[str, Any]]) -> None:
        self._values = values
        self.sources = sources
        self.tables = tables

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def replaced(self, **values: Any) -> Settings:
        """The same settings, but for these values."""
        return Settings({**self._values, **values}, self.sources, self.tables)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(name) from None


def load(
    arguments: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Resolve every setting. `arguments` and `config` come from the caller (None: not given), the rest is read."""
    values = {setting.name: setting.default for setting in TABLE}
    sources = {setting.name: "default" for setting in TABLE}
    tables: dict[str, dict[str, Any]] = {}
    environment = os.environ if environ is None else environ
    if config is not None and not isinstance(config, Mapping):
        raise SettingsError(
            f"config must be a mapping, not {type(config).__name__}, e.g. config={{'track_git': False}}"
        )
    for origin, given in (
        *_project_file(folder),
        ("environment", _environment(environment)),
        ("config", config or {}),
        ("arguments", arguments or {}),
    ):
        for key, value in ((str(name), value) for name, value in given.items()):
            if value is None:
                continue
            if key == "backend" and isinstance(value, Mapping):
                for name, options in value.items():
                    tables.setdefault(str(name), {}).update(_table(str(name), options or {}, origin))
            if key in BACKEND_TABLES or (isinstance(value, Mapping) and key not in BY_NAME):
                tables.setdefault(key, {}).update(_table(key, value, origin))
                continue
            values[key] = _parsed(key, list(value) if isinstance(value, Mapping) else value, origin)
            sources[key] = origin
    return Settings(values, sources, tables)


def _parsed(key: str, value: object, origin: str) -> Any:
    setting = BY_NAME.get(key)
    if setting is None:
        raise SettingsError(f"{_describe_key(key, origin)} is not a setting. {_nearest(key)}")
    try:
        return setting.parse(value)
    except ValueError as error:
        raise SettingsError(
            f"{_describe_key(key, origin)} cannot be {_format_value(value)}: {error}. {setting.doc}"
        ) from None


def _describe_key(key: str, origin: str) -> str:
    if origin == "environment":
        return f"The environment variable TRACELET_{key.upper()}"
    return f"{key!r} ({origin})"


def _format_value(value: object) -> str:
    # Python refuses to print the largest integers.
    return "a number this large" if isinstance(value, int) and value.bit_length() > 1000 else repr(value)


def _nearest(key: str) -> str:
    known = [*BY_NAME, *BACKEND_TABLES]
    near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else "Settings: " + ", ".join(known) + "."


def _table(key: str, value: object, origin: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingsError(
            f"{_describe_key(key, origin)} holds the options of a backend: it must be a table, not {value!r}"
        )
    return dict(value)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    # An unknown TRACELET_* variable may belong to another version or a plug-in: it is left alone, unlike a key in code.
    return {s.name: environ[s.variable] for s in TABLE if environ.get(s.variable, "") != ""}


def _project_file(folder: Path | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        folder = folder or Path.cwd()
    except FileNotFoundError:
        return  # the working directory was deleted: there is no file to look for
    for place in (folder, *folder.parents):
        path = place / "pyproject.toml"
        if not path.is_file():
            continue
        try:
            tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
        except (OSError, ValueError) as error:
            raise SettingsError(f"{path} cannot be read ({error}). Fix it, or start from another folder.") from None
        table = tools.get("tracelet") if isinstance(tools, Mapping) else None
        if table is not None and not isinstance(table, Mapping):
            raise SettingsError(f"[tool.tracelet] in {path} must be a table of settings, not {table!r}. Fix it.")
        if table is not None:
            yield f"[tool.tracelet] in {path}", table
        return
