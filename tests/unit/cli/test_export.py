"""`tracelet export`: the points come out as they went in."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracelet.store.run import Run

Record = Callable[..., Run]
Call = Callable[..., Result]

AWKWARD = [1 / 3, -0.0, 1e-320, 1.7976931348623157e308, math.inf, -math.inf, math.nan, 0.1 + 0.2]


def same(left: list[float], right: list[float]) -> bool:
    """Equal to the last bit, NaN equal to NaN."""
    return bool(np.array_equal(np.array(left), np.array(right), equal_nan=True)) and [
        math.copysign(1, x) for x in left if x == x
    ] == [math.copysign(1, x) for x in right if x == x]


def test_csv_brings_every_float_back(record: Record, call: Call) -> None:
    """What `float()` reads from the CSV is the value that was logged, to the last bit."""
    run = record("run", {"x": AWKWARD, 'odd, "name"': [1.0]})
    rows = list(csv.DictReader(io.StringIO(call("export", "run").stdout)))
    assert list(rows[0]) == ["metric", "step", "value", "time", "epoch", "stage", "fit"]
    assert same([float(row["value"]) for row in rows if row["metric"] == "x"], AWKWARD)
    assert [float(row["time"]) for row in rows if row["metric"] == "x"] == run.series("x").times.tolist()
    assert [int(row["step"]) for row in rows if row["metric"] == "x"] == list(range(len(AWKWARD)))
    assert [row["value"] for row in rows if row["metric"] == 'odd, "name"'] == ["1.0"]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(), min_size=1, max_size=50))
def test_json_brings_every_float_back(record: Record, call: Call, values: list[float]) -> None:
    """JSON holds finite values exactly, and the others as texts that `float()` reads."""
    run = record("run", {"x": values})
    found = json.loads(call("export", run.id, "-f", "json").stdout)
    assert found["name"] == "run"
    assert same([float(value) for value in found["metrics"]["x"]["value"]], values)


def test_parquet_brings_every_float_back(record: Record, call: Call, tmp_path: Path) -> None:
    """The file's ending chooses the format; columns have their types and values."""
    parquet = pytest.importorskip("pyarrow.parquet")
    record("run", {"x": AWKWARD, "y": [1.0]})
    call("export", "run", "-o", str(tmp_path / "points.parquet"))
    found = parquet.read_table(tmp_path / "points.parquet").to_pydict()
    assert found["metric"] == ["x"] * len(AWKWARD) + ["y"]
    assert same(found["value"][: len(AWKWARD)], AWKWARD)
    assert found["epoch"] == [None] * (len(AWKWARD) + 1)


def test_csv_spells_nan_as_readers_of_csv_do(record: Record, call: Call) -> None:
    """A column with a NaN stays a column of numbers; pyarrow reads it where `NaN` is not one of its words for null."""
    csv_reader = pytest.importorskip("pyarrow.csv")
    record("run", {"x": [1.0, math.nan, math.inf]})
    text = call("export", "run").stdout
    assert [line.split(",")[2] for line in text.splitlines()[1:]] == ["1.0", "NaN", "inf"]
    options = csv_reader.ConvertOptions(null_values=[""])
    values = csv_reader.read_csv(io.BytesIO(text.encode()), convert_options=options)["value"]
    assert (str(values.type), values.null_count) == ("double", 0)
    assert same(values.to_pylist(), [1.0, math.nan, math.inf])


def test_parquet_has_no_statistics_that_hide_nan(record: Record, call: Call, tmp_path: Path) -> None:
    """Row groups have no minimum and maximum of the values, by which readers would skip rows with NaN."""
    parquet = pytest.importorskip("pyarrow.parquet")
    record("run", {"x": [1.0, math.nan]})
    call("export", "run", "-o", str(tmp_path / "points.parquet"))
    group = parquet.ParquetFile(tmp_path / "points.parquet").metadata.row_group(0)
    columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
    assert columns["value"].statistics is None
    assert columns["step"].statistics.max == 1


def test_metrics_can_be_chosen(record: Record, call: Call, tmp_path: Path) -> None:
    """Only the metrics asked for are written, into the file named."""
    record("run", {"x": [1.0], "y": [2.0]})
    result = call("export", "run", "--metric", "y", "-o", "y.csv")
    assert result.stdout == ""
    assert [line.split(",")[0] for line in Path("y.csv").read_text().splitlines()] == ["metric", "y"]


def test_what_is_not_there_is_an_error(record: Record, call: Call) -> None:
    """An unknown metric, process or folder is one line with exit code 2."""
    record("run", {"loss": [1.0]})
    assert "loss" in call("export", "run", "--metric", "los", code=2).stderr
    assert "rank 7" in call("export", "run", "--rank", "7", code=2).stderr
    assert "cannot be written" in call("export", "run", "-o", "missing/x.csv", code=2).stderr


def test_a_run_without_points_is_a_header(record: Record, call: Call) -> None:
    """Nothing logged gives a table without rows, and JSON without metrics."""
    record("run")
    assert call("export", "run").stdout.count("\n") == 1
    assert json.loads(call("export", "run", "-f", "json").stdout)["metrics"] == {}


def test_a_long_export_shows_how_far_it_is(record: Record) -> None:
    """On a terminal stderr has a progress bar, and standard output the same file as ever."""
    record("run", {"x": [1.0, 2.0], "y": [3.0]})
    code = (
        "import importlib, sys; module = importlib.import_module('tracelet.cli.export'); module.WORTH_A_BAR = 3;"
        "from tracelet.cli import main; main(['export', 'run'])"
    )
    terminal, end = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=end, timeout=60, check=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        )  # fmt: skip
        os.close(end)
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(terminal)
    assert "exporting" in shown
    assert "100%" in shown
    quiet = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert (quiet.stdout, quiet.stderr) == (done.stdout, b"")
    assert len(done.stdout.splitlines()) == 4
