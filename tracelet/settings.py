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

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_NUMBER = 10**9
"""Of seconds and counts: about thirty years. Python's own waits refuse ten times as much."""
TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})
BACKEND_TABLES = "mlflow", "wandb", "clearml", "tensorboard", "aim", "otlp", "onelogger", "jsonl"
"""Keys of `config` that hold a table of one backend's options instead of one value; plug-ins add theirs."""


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError("expected true or false")


def _text(value: object) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError("expected a string")
    return os.fspath(value).strip()


def _backends(value: object) -> str:
    return ",".join(map(_text, value)) if isinstance(value, (list, tuple)) else _text(value)


def _seconds(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever float() refuses is refused below
    except (TypeError, ValueError, OverflowError):
        raise ValueError("expected a number of seconds") from None
    if not 0 < number <= MAX_NUMBER:
        raise ValueError("expected a number of seconds above 0 and at most 1,000,000,000")
    return number


def _count(value: object) -> int:
    try:
        number = int(value)  # type: ignore[call-overload]  # whatever int() refuses is refused below
    except (TypeError, ValueError, OverflowError):
        raise ValueError("expected an integer") from None
    if not 1 <= number <= MAX_NUMBER or (isinstance(value, float) and number != value):
        raise ValueError("expected an integer from 1 to 1,000,000,000")
    return int(number)


def _names(value: object) -> str:
    """Names as one comma-separated string."""
    if isinstance(value, str):
        return ",".join(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise ValueError("expected names, as a list or separated by commas")
    return ",".join(str(getattr(part, "value", part)) for part in value)


def _choice(*words: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        word = str(value).strip().lower()
        if word not in words:
            raise ValueError("expected one of " + ", ".join(words))
        return word

    return parse


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
    Setting("experiment_name", "", _text, "Name of the run. If empty, the name of the script."),
    Setting("project", "default", _text, "Project of the run."),
    Setting("backend", "", _backends, "Names of the backends to deliver to: a list, or separated by commas."),
    Setting("api_key", "", _text, "API key of the backend, if there is exactly one backend. Never stored."),
    Setting("backend_url", "", _text, "URL of the backend's server, if there is exactly one backend."),
    Setting("run_id", "", _text, "Id of the run. If a run with this id exists, it resumes."),
    Setting("resume", "", _text, "Run to resume: its id or name, or `auto` for the run that this job started."),
    Setting("dir", "", _text, "Folder of the store. If empty, `.tracelet` in the working directory."),
    Setting("enabled", True, _bool, "If false, nothing is recorded and every call is a no-op."),
    Setting("track_lightning", True, _bool, "Record what Lightning computes: metrics, hyperparameters, checkpoints."),
    Setting("track_tensorboard", True, _bool,
            "Record scalars, hyperparameters and texts that are given to a SummaryWriter."),
    Setting("track_transformers", True, _bool,
            "Record what Hugging Face's Trainer logs, its arguments and checkpoints."),
    Setting("track_accelerate", True, _bool, "Record what `Accelerator.log` is given, its setup and its saved states."),
    Setting("track_ignite", True, _bool, "Record metrics, numeric outputs and checkpoints of ignite's engines."),
    Setting("track_skorch", True, _bool, "Record the history, parameters and checkpoints of skorch's nets."),
    Setting("track_wandb", True, _bool, "Record what the program itself gives to wandb."),
    Setting("wandb_sweeps", "auto", _choice("auto", "local", "off"),
            "Run sweeps of the program's wandb on this machine: `auto` (if wandb has no account), `local`, or `off`."),
    Setting("track_mlflow", True, _bool, "Record what the program itself gives to MLflow."),
    Setting("track_clearml", True, _bool, "Record what the program itself reports to ClearML."),
    Setting("track_aim", True, _bool, "Record what the program itself gives to Aim."),
    Setting("track_trackio", True, _bool, "Record what the program itself logs to trackio."),
    Setting("track_torch", True, _bool, "Record the creation of data loaders, optimizers and process groups."),
    Setting("track_profilers", True, _bool, "Keep the reports and traces of Lightning's and PyTorch's profilers."),
    Setting("track_argparse", True, _bool, "Record the arguments that `argparse` parses as parameters."),
    Setting("track_click", True, _bool, "Record the parameters of the `click` commands that run."),
    Setting("track_typer", True, _bool, "Record the parameters of the Typer commands that run."),
    Setting("track_hydra", True, _bool, "Record Hydra's configuration, and each job of `--multirun` as a run."),
    Setting("track_omegaconf", True, _bool, "Record configurations that the program loads with OmegaConf."),
    Setting("track_jsonargparse", True, _bool, "Record what `jsonargparse` and LightningCLI parse and save."),
    Setting("track_tyro", True, _bool, "Record what `tyro.cli()` parses as parameters."),
    Setting("track_simple_parsing", True, _bool, "Record what `simple_parsing` parses as parameters."),
    Setting("track_absl", True, _bool, "Record the program's `absl.flags` as parameters."),
    Setting("track_fire", True, _bool, "Record the arguments of the calls that Python Fire makes."),
    Setting("track_system", True, _bool, "Sample machine metrics: CPU, memory, disk, network, GPU."),
    Setting("track_git", True, _bool, "Record the commit, the branch and the uncommitted diff."),
    Setting("track_env", True, _bool, "Record the Python version, packages, command and platform."),
    Setting("track_console", True, _bool, "Record the console output of the program, as a terminal shows it."),
    Setting("track_learning_rate", True, _bool, "Record the learning rate of every parameter group at every step."),
    Setting("track_gradients", False, _bool, "Record the norm of the gradients at every optimizer step."),
    Setting("track_backward_loss", False, _bool, "Record the value that backward() is called on, in plain PyTorch."),
    Setting("track_spans", True, _bool, "Record spans: data loading, forward, backward, optimizer, ..."),
    Setting("telemetry_interval", 50, _count, "Training iterations between two summaries of throughput and times."),
    Setting("spans", "all", _names, "Names of the spans to deliver and export: `all`, or a list."),
    Setting("spans_deny", "", _names, "Names of spans not to deliver or export; their children move up."),
    Setting("metrics_interval", 10.0, _seconds, "Seconds between two samples of the machine metrics."),
    Setting("flush_interval", 0.5, _seconds, "Maximum seconds between logging a point and writing it to disk."),
    Setting("delivery", "agent", _choice("agent", "inline", "off"),
            "How to deliver to backends: `agent` (a separate process), `inline` (a thread), or `off` (only with "
            "`tracelet sync`)."),
    Setting("agent_linger", 600.0, _seconds,
            "Seconds that the agent keeps trying to deliver after the training ends."),
    Setting("gather_nodes", True, _bool,
            "Copy what other nodes record to rank 0's node, if they do not share the store."),
    Setting("rank_deadline", 30.0, _seconds, "Seconds that the delivery of a step waits for a late rank."),
    Setting("stop_timeout", 60.0, _seconds, "Maximum seconds that stop_logging() waits for pending deliveries."),
    Setting("explain", False, _bool, "Print at the end, library by library, what was found, patched and recorded."),
    Setting("quiet", False, _bool, "Print nothing when a run starts and stops."),
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
