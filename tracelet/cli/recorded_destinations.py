"""Decides which recorded options of a backend count: a journal may come from anybody. Used by `sync` and `doctor`.

In a run that this user recorded, all of them. In a foreign run, an address counts only if the local settings name it
too or the user confirms it, a path only inside the store, and a class never. A confirmed address gets no local
credential. Reads the store and the environment, and contacts nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tracelet.redaction.masking import mask_url
from tracelet.settings import Settings
from tracelet.store.delivery_state import FOLDER
from tracelet.store.run import Run

Options = Mapping[str, Any]
FOREIGN = "the run is not known to be yours"

HARMLESS: dict[str, frozenset[str]] = {
    "mlflow": frozenset({"experiment", "parent", "group", "spans", "timeout", "upload_artifacts"}),
    "wandb": frozenset({"mode", "group", "job_type", "notes", "step_axis", "timeout"}),
    "clearml": frozenset({"mode", "task_type", "parent"}),
    "aim": frozenset({"experiment"}),
    "otlp": frozenset({"protocol", "service_name", "spans", "spans_deny", "timeout"}),
    "onelogger": frozenset({"spans", "spans_deny"}),
}
"""Options that say how to deliver, not where. Every other option of a foreign run is a destination."""

ADDRESS_VARIABLES: dict[str, tuple[str, ...]] = {
    "mlflow": ("MLFLOW_TRACKING_URI",),
    "wandb": ("WANDB_BASE_URL",),
    "clearml": ("CLEARML_API_HOST", "TRAINS_API_HOST", "CLEARML_FILES_HOST"),
    "otlp": ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
}
"""Where a system's own client takes its address from."""

PATH_OPTIONS = frozenset({"path", "log_dir", "repo", "dir"})
LOCAL_SCHEMES = frozenset({"", "file", "sqlite"})
STANDARD_OUTPUT = "-"
OUTPUT_FOLDERS = ("jsonl", "tensorboard", "onelogger", "wandb", "clearml", ".aim")
"""Where backends put files of their own, in the store."""


@dataclass(frozen=True)
class Destination:
    """The options to deliver with. `doubt` says why the recorded ones do not count; then nothing is delivered."""

    options: dict[str, Any]
    doubt: str = ""
    foreign_addresses: list[str] = field(default_factory=list)
    """Confirmed, but not named by the local settings: no local credential may go there."""


def resolve(
    run: Run, name: str, recorded: Options, local: Settings, own: bool, asked: bool = False, trust: bool = False
) -> Destination:
    """What counts of the options that the run recorded for a backend, under those of the local settings.

    `asked`: the user named the backend, so the local settings are enough where the recorded options do not count.
    """
    table = local.tables.get(name, {})
    if own:
        return Destination({**recorded, **table})
    table = {key: _from_here(key, value) for key, value in table.items()}
    link = _link_out_of_store(run)
    if link is not None:
        return Destination(
            {}, f"{link} is a link to a place outside the store, and the run is not known to be yours. Remove it"
        )
    counted, foreign = {}, []
    for key, value in recorded.items():
        if key in table:
            continue
        known = key in HARMLESS.get(name, ()) or _is_named(name, key, value, local)
        if not known:
            doubt = _doubt(run, name, key, value, trust)
            if doubt and asked:
                continue
            if doubt:
                return Destination({}, doubt)
            if not _is_path(key, value):
                foreign.append(str(value))
        counted[key] = value
    return Destination({**counted, **table}, "", foreign)


def _doubt(run: Run, name: str, key: str, value: Any, trust: bool) -> str:
    """Why a recorded option does not count; empty if it does."""
    if key == "class":
        return (
            f"{FOREIGN} and records the class {value!r}, which is not imported. If you know it, name it: "
            f'class = "{value}" in [tool.tracelet.{name}] of pyproject.toml'
        )
    if _is_path(key, value):
        if _is_in_store(run, str(value)):
            return ""
        return (
            f"{FOREIGN} and records {key} {value!r}, which is outside the store. To deliver to your own {name}, "
            f"type: tracelet sync {run.id} --backend {name}"
        )
    if trust:
        return ""
    return (
        f"{FOREIGN} and records {key} {mask_url(str(value))!r}, which your settings do not name. If you know "
        f"this destination, type: tracelet sync {run.id} --trust. To deliver to your own {name}, type: "
        f"tracelet sync {run.id} --backend {name}"
    )


def _is_named(name: str, key: str, value: Any, local: Settings) -> bool:
    """Whether the local settings, or the environment of the system's own client, name this very value."""
    if key not in ("url", "files_url"):
        return False
    named = [local.backend_url, *(os.environ.get(variable, "") for variable in ADDRESS_VARIABLES.get(name, ()))]
    return str(value).rstrip("/") in {address.rstrip("/") for address in named if address}


def _is_path(key: str, value: Any) -> bool:
    if key in PATH_OPTIONS:
        return not isinstance(value, str) or "://" not in value
    return key == "url" and urlsplit(str(value)).scheme.partition("+")[0] in LOCAL_SCHEMES


def _from_here(key: str, value: Any) -> Any:
    """A path of the local settings, absolute: backends would look for it in the folder that the run names."""
    if key not in PATH_OPTIONS or not _is_path(key, value) or value in ("", STANDARD_OUTPUT):
        return value
    return str(Path(value).expanduser().absolute())


def _is_in_store(run: Run, value: str) -> bool:
    """Whether the path is inside the store, whatever links there are on the way."""
    if value == STANDARD_OUTPUT:
        return True
    scheme, root = urlsplit(value).scheme, _root(run)
    # MLflow takes `sqlite:///x` and `file:///x` apart in its own way; only an absolute path means the same to all.
    path = Path(unquote(value.partition("://")[2].partition("?")[0]) if scheme else value)
    if scheme.startswith("sqlite"):
        path = Path(str(path)[1:])
    return path.is_absolute() and path.resolve().is_relative_to(root.resolve())


def _link_out_of_store(run: Run) -> Path | None:
    """A link among the places that are written to that leads out of the store."""
    root = _root(run)
    notes = run.path / FOLDER
    places = [run.path, notes, *(root / name for name in OUTPUT_FOLDERS)]
    for folder in (notes, *(root / name for name in OUTPUT_FOLDERS)):
        if folder.is_dir() and not folder.is_symlink():
            places += folder.iterdir()
    inside = root.resolve()
    return next((place for place in places if place.is_symlink() and not place.resolve().is_relative_to(inside)), None)


def _root(run: Run) -> Path:
    return run.path.parents[1]
