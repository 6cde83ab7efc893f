"""How a script's own `start_logging("name", ...)` takes over the run that `tracelet run` has started for it.

Called by the session on the user's thread, at most once per run (`warn_ignored_settings` by each further
`start_logging()`). The command line wins, because it was given last; the script fills in the rest. A setting that can
no longer change, because recording has started, is reported and ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import msgspec

from tracelet.guard import say
from tracelet.journal.records import Started
from tracelet.settings import Settings

ADOPTABLE = frozenset({"experiment_name", "project", "backend", "api_key", "backend_url"})
"""Settings that are only recorded at the start; the others have already taken effect."""


def adopted_start(
    started: Started, asked: Settings, backends: Mapping[str, dict[str, Any]], given: Set[str]
) -> Started:
    """The run's first record, as if the script had started it; `given` are the settings from the command line."""
    changes: dict[str, Any] = {}
    if "experiment_name" not in given and asked.experiment_name:
        changes["name"] = asked.experiment_name
    if "project" not in given and asked.sources["project"] != "default":
        changes["project"] = asked.project
    if "backend" not in given and backends:
        changes["backends"] = dict(backends)
    return msgspec.structs.replace(started, **changes)


def warn_late_settings(running: Settings, asked: Settings, given: Set[str]) -> None:
    """Report the script's settings that come too late."""
    late = _ignored(running, asked, given)
    if late:
        example = " ".join(f"--config {key}={asked[key]}" for key in late)
        say(
            f"`tracelet run` had started the recording before the script set {', '.join(late)}; the script "
            f"continues with the settings in effect. Type instead: tracelet run {example} ..."
        )


def warn_ignored_settings(running: Settings, asked: Settings) -> None:
    """Report the settings of a second `start_logging()` that come too late."""
    late = _ignored(running, asked, frozenset())
    if late:
        say(
            f"a run is active and keeps its settings; {', '.join(late)} cannot be changed any more. "
            "Type tracelet.stop_logging() before the second start_logging()."
        )


def _ignored(running: Settings, asked: Settings, given: Set[str]) -> list[str]:
    return [
        key
        for key in asked
        if asked.sources[key] in ("arguments", "config") and key not in ADOPTABLE and key not in given
        and asked[key] != running[key]
    ]  # fmt: skip
