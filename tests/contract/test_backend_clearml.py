"""The clearml backend passes the conformance suite offline, read from the session's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracelet.backends.base import RunDescription
from tracelet.backends.clearml import TAG, ClearmlBackend, ClearmlOptions
from tracelet.backends.clearml_series import NOT_FINITE, SYSTEM
from tracelet.testing import BackendConformance, Delivered, Traits

STATUSES = {name: name for name in ("finished", "failed", "interrupted", "preempted", "killed")}


def read(run: RunDescription) -> Delivered:
    found = Delivered()
    sessions = []
    for path in (run.store / "clearml" / "offline").glob("*/task.json"):
        task = json.loads(path.read_text(encoding="utf-8"))
        if TAG + run.id in task["tags"]:
            sessions.append((path.parent, task))
    ((folder, task),) = sessions
    for section, entries in task.get("hyperparams", {}).items():
        for name, entry in entries.items():
            found.params[name if section == "General" else f"{section}/{name}"] = str(entry["value"])
    found.status = found.params.get("tracelet/status", "")
    lines = (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").exists() else []
    for event in (event for line in lines for event in json.loads(line)):
        name, value = event["variant"], event["value"]
        for kind, suffix in NOT_FINITE.items():
            if name.endswith(suffix):
                name, value = name.removesuffix(suffix), float(kind)
        title = event["metric"]
        whole = name if title in (SYSTEM, name) else f"{title}/{name}"
        found.series.setdefault(whole, []).append((event["iter"], value, event["timestamp"] / 1000))
    return found


def suite(folder: Path) -> BackendConformance:
    traits = Traits(artifacts=False, statuses=STATUSES)
    return BackendConformance(lambda: ClearmlBackend(ClearmlOptions(mode="offline")), read, folder, traits)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own
@pytest.mark.parametrize("check", BackendConformance.CHECKS)
def test_conformance(check: str, tmp_path: Path) -> None:
    """What every backend must do, clearml does offline."""
    suite(tmp_path).run(check)
