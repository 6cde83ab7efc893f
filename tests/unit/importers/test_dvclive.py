"""Folders that the real DVCLive wrote, compared with what its own reader finds."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.environments import trackers_python
from tests.importing import HARD, imported, points, values
from tracelet.importers.dvclive import DvcliveImporter
from tracelet.testing import ImporterConformance

PROGRAM = (
    f"VALUES = {list(map(repr, HARD))}"
    """
import json
from dvclive import Live
from dvclive.utils import parse_metrics
with Live("live", save_dvc_exp=False, dvcyaml=None, report=None) as live:
    live.log_params({"lr": 0.1, "net": {"depth": 3}})
    for step, value in enumerate(map(float, VALUES)):
        live.log_metric("train/loss", value, timestamp=True)
        live.log_metric("acc", step)
        live.log_metric("final", 9.5, plot=False)
        live.next_step()
    live.step = 3
    live.log_metric("acc", 2**53 + 1)
    live.step = 2.5
    live.log_metric("acc", 7)
history, _ = parse_metrics(live)
print(json.dumps({path.split("plots/metrics/")[1]: rows for path, rows in history.items()}))
with Live("empty", save_dvc_exp=False, dvcyaml=None, report=None) as live:
    live.log_params({"lr": 0.2})
"""
)

Source = tuple[Path, dict[str, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A folder with the runs, and the rows that DVCLive reads."""
    folder = tmp_path_factory.mktemp("dvclive")
    done = subprocess.run(
        [trackers_python(), "-c", PROGRAM], cwd=folder, check=True, capture_output=True, text=True, timeout=120
    )
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_every_point_is_there(source: Source, tmp_path: Path) -> None:
    """Values, steps (repeated and going back, too) and times are those that DVCLive's reader gives."""
    folder, history = source
    run = imported(folder, DvcliveImporter(), tmp_path)["live"]
    assert run.metrics() == ["acc", "train/loss"]
    theirs = [(int(row["step"]), repr(float(row["loss"])), int(row["timestamp"]) / 1000)
              for row in history["train/loss.tsv"]]  # fmt: skip
    assert points(run, "train/loss") == theirs
    assert [value for _, value, _ in theirs] == [repr(value) for value in HARD]
    acc = [(int(float(row["step"])), repr(float(row["acc"]))) for row in history["acc.tsv"]]
    assert values(run, "acc") == acc and acc[-2:] == [(3, repr(float(2**53 + 1))), (2, "7.0")]


def test_parameters_values_and_what_is_missing(source: Source, tmp_path: Path) -> None:
    """Parameters and latest values come over; points without times, fractions and rounded integers are reported."""
    run = imported(source[0], DvcliveImporter(), tmp_path)["live"]
    assert run.params == {"lr": 0.1, "net/depth": 3}
    assert run.facts("summary")["final"] == 9.5
    told = "\n".join(run.problems)
    assert all(part in told for part in ("have no time", "have a fraction", "beyond 2**53"))


def test_a_line_that_is_being_written(source: Source, tmp_path: Path) -> None:
    """A line without an end is read by a later import, when it is complete."""
    folder = tmp_path / "copy"
    path = folder / "plots" / "metrics" / "loss.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("step\tloss\n0\t0.5\n1\t0.2", encoding="utf-8")
    assert values(imported(folder, DvcliveImporter(), tmp_path / "store")["copy"], "loss") == [(0, "0.5")]
    path.write_text("step\tloss\n0\t0.5\n1\t0.25\n", encoding="utf-8")
    run = imported(folder, DvcliveImporter(), tmp_path / "store")["copy"]
    assert values(run, "loss") == [(0, "0.5"), (1, "0.25")]


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, source: Source, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    ImporterConformance(DvcliveImporter(), source[0], tmp_path).run(check)
