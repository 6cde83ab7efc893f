"""Databases that the real trackio wrote, compared with what its storage reads."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.environments import trackers_python
from tests.importing import FAR, HARD, expected, imported, points, values
from tracelet.importers.timestamps import from_iso
from tracelet.importers.trackio import TrackioImporter
from tracelet.testing import ImporterConformance

STEPS = (0, 1, 1, 3, 2, FAR, 5, 7)
PROGRAM = f"""
POINTS = {list(zip(STEPS, map(repr, HARD)))}
import json, os
os.environ["TRACKIO_DIR"] = "store"
import trackio
from trackio.sqlite_storage import SQLiteStorage
trackio.init(project="vision", name="first", config={{"lr": 0.1, "net": {{"depth": 3}}}}, group="seeds", embed=False)
for step, value in POINTS:
    trackio.log({{"loss": float(value), "nested": {{"a": step}}, "note": "x"}}, step=step)
trackio.finish()
trackio.init(project="vision", name="second", embed=False)
trackio.log({{"x": 1}})
trackio.finish()
print(json.dumps(SQLiteStorage.get_logs("vision", "first")))
"""

Source = tuple[Path, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A folder with one database, and the rows that trackio reads."""
    folder = tmp_path_factory.mktemp("trackio")
    done = subprocess.run(
        [trackers_python(), "-c", PROGRAM], cwd=folder, check=True, capture_output=True, text=True, timeout=120
    )
    return folder / "store", json.loads(done.stdout.splitlines()[-1])


def test_every_point_is_there(source: Source, tmp_path: Path) -> None:
    """Values, steps and times are those that trackio's storage gives, in its order."""
    folder, rows = source
    run = imported(folder, TrackioImporter(), tmp_path)["first"]
    theirs = [(row["step"], repr(float(row["loss"])), (from_iso(row["timestamp"]) or 0) / 1e6) for row in rows]
    assert sorted(points(run, "loss")) == sorted(theirs)
    assert values(run, "loss") == expected(STEPS, HARD)
    assert values(run, "nested/a") == expected(STEPS, STEPS)


def test_everything_else(source: Source, tmp_path: Path) -> None:
    """Project, configuration, group; what is no number is reported; every run of the file."""
    runs = imported(source[0], TrackioImporter(), tmp_path)
    first = runs["first"]
    assert set(runs) == {"first", "second"}
    assert (first.info.project, first.params, first.tags) == ("vision", {"lr": 0.1, "net/depth": 3}, {"group": "seeds"})
    assert any("8 values that are no numbers" in problem for problem in first.problems)
    assert values(runs["second"], "x") == [(0, "1.0")]


def test_writes_that_are_pending(source: Source, tmp_path: Path) -> None:
    """Rows that are in the write-ahead log only are read, and no file appears beside the database."""
    folder = tmp_path / "live"
    folder.mkdir()
    path = folder / "vision.db"
    path.write_bytes((source[0] / "vision.db").read_bytes())
    connection = sqlite3.connect(path)
    try:
        connection.execute("pragma journal_mode = wal")
        row = connection.execute("select run_id, timestamp, run_name from metrics where run_name = 'first'").fetchone()
        insert = "insert into metrics (run_id, timestamp, run_name, step, metrics) values (?, ?, ?, 99, ?)"
        connection.execute(insert, (*row, json.dumps({"loss": "NaN"})))
        connection.commit()
        series = imported(folder, TrackioImporter(), tmp_path / "store")["first"].series("loss")
    finally:
        connection.close()
    assert series.steps[-1] == 99 and math.isnan(series.values[-1])


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, source: Source, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    ImporterConformance(TrackioImporter(), source[0], tmp_path).run(check)
