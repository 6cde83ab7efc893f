"""The wandb backend passes the conformance suite offline, read from the folder that `wandb sync` takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracelet.backends.base import RunDescription
from tracelet.backends.wandb import WandbBackend, WandbOptions
from tracelet.backends.wandb_spool import Spool, message
from tracelet.testing import BackendConformance, Delivered, Traits

FAILED = "1"
STATUSES = {"finished": "0", "failed": FAILED, "interrupted": FAILED, "preempted": FAILED, "killed": FAILED}
AXIS = WandbOptions().step_axis


def read(run: RunDescription) -> Delivered:
    found = Delivered()
    config: dict[str, object] = {}
    steps: set[int] = set()
    paths = sorted(run.store.glob(f"wandb/offline-run-*-{run.id}/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    rows = []
    for path in paths:
        for step, row in Spool(path).rows():
            assert step not in steps, f"row {step} is there twice"
            steps.add(step)
            rows.append(row)
        for data in Spool(path)._records():
            record = message().FromString(data)
            for update in (*record.config.update, *record.run.config.update):
                config[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
            if record.HasField("exit"):
                found.status = str(record.exit.exit_code)
    names = config.get("tracelet/names", {})
    assert isinstance(names, dict)
    for row in rows:
        for name in row.keys() - {"_step", "_timestamp", "_runtime", AXIS}:
            step = row[AXIS] if AXIS in row else round((row["_timestamp"] - run.started) * 4)
            found.series.setdefault(names.get(name, name), []).append((step, float(row[name]), row["_timestamp"]))
    found.params = {name: str(value) for name, value in config.items()}
    return found


@pytest.fixture(autouse=True)
def _service() -> Iterator[None]:
    """The SDK's own process ends with the test instead of with Python."""
    yield
    import wandb

    wandb.teardown()


def suite(folder: Path) -> BackendConformance:
    traits = Traits(value=lambda value: value + 0.0, time_precision=1e-6, artifacts=False, statuses=STATUSES)
    return BackendConformance(lambda: WandbBackend(WandbOptions(mode="offline")), read, folder, traits)


@pytest.mark.slow
@pytest.mark.parametrize("check", BackendConformance.CHECKS)
def test_conformance(check: str, tmp_path: Path) -> None:
    """What every backend must do, wandb does offline."""
    suite(tmp_path).run(check)
