"""The jsonl backend passes the conformance suite and survives torn lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracelet.backends.base import RunDescription
from tracelet.backends.jsonl import JsonlBackend, JsonlOptions
from tracelet.testing import BackendConformance, Delivered, Traits

STATUSES = {name: name for name in ("finished", "failed", "interrupted", "preempted", "killed")}


def lines(run: RunDescription) -> list[dict[str, object]]:
    path = run.store / "jsonl" / f"{run.id}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read(run: RunDescription) -> Delivered:
    found = Delivered()
    for line in lines(run):
        if line["kind"] == "point":
            point = int(str(line["step"])), float(str(line["value"])), float(str(line["time"]))
            found.series.setdefault(str(line["name"]), []).append(point)
        elif line["kind"] == "params":
            values = line["values"]
            assert isinstance(values, dict)
            found.params.update({name: str(value) for name, value in values.items()})
        elif line["kind"] == "end":
            found.status = str(line["status"])
    return found


def suite(folder: Path) -> BackendConformance:
    traits = Traits(time_precision=0.0, artifacts=False, statuses=STATUSES)
    return BackendConformance(lambda: JsonlBackend(JsonlOptions()), read, folder, traits)


@pytest.mark.parametrize("check", BackendConformance.CHECKS)
def test_conformance(check: str, tmp_path: Path) -> None:
    """What every backend must do, jsonl does."""
    suite(tmp_path).run(check)
