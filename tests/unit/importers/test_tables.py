"""CSV, JSON lines and Parquet as runs: what columns mean, and every value, step and time of theirs."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import time
from pathlib import Path

import pandas
import pyarrow.parquet
import pytest

from tests.importing import FAR, HARD, expected, imported, points, values
from tracelet.errors import ImportFailed
from tracelet.importers.tables.importer import TableImporter
from tracelet.importers.tables.layout import TableColumns, time_of
from tracelet.testing import ImporterConformance

STEPS = (0, 1, 1, 3, 2, FAR, -5, 7)
TIMES = [1_700_000_000.25 + place for place in range(8)]


def rows() -> list[dict[str, object]]:
    """Two runs in one table, their rows by turns."""
    return [
        {"run": name, "step": step, "time": when, "loss": value, "val/acc": place if place % 2 else None, "lr": lr,
         "optimizer": "sgd"}
        for place, (step, when, value) in enumerate(zip(STEPS, TIMES, HARD)) for name, lr in (("a", 0.1), ("b", 0.01))
    ]  # fmt: skip


def written(folder: Path, kind: str) -> Path:
    path = folder / f"results.{kind}"
    if kind == "csv":
        pandas.DataFrame(rows()).to_csv(path, index=False, na_rep="NaN")
    elif kind == "parquet":  # pandas would make NaN null
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows()), path, row_group_size=3)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_table_with_runs(kind: str, tmp_path: Path) -> None:
    """Each value of the run column is a run; values, steps beyond 2**53, repeats and times are those of pandas."""
    path = written(tmp_path, kind)
    runs = imported(path, TableImporter(TableColumns(params=("lr", "optimizer"))), tmp_path / "store")
    assert set(runs) == {"a", "b"}
    for name, lr in (("a", 0.1), ("b", 0.01)):
        assert runs[name].params == {"lr": lr, "optimizer": "sgd"}
        assert values(runs[name], "loss") == expected(STEPS, HARD)
        assert [when for _, _, when in points(runs[name], "loss")] == TIMES
        assert not math.isnan(runs[name].series("val/acc").values[1])


def test_guesses_are_shown(tmp_path: Path) -> None:
    """What each column was taken for is in the run's note, which the command prints before it imports."""
    (first, *_) = TableImporter().find(written(tmp_path, "csv"))
    assert first.note == "step: step; time: time; run: run; parameters: optimizer; metrics: loss, val/acc, lr"


def test_a_table_without_steps_times_and_runs(tmp_path: Path) -> None:
    """Rows are steps, the file's time is that of the points, which is reported."""
    path = tmp_path / "plain.csv"
    path.write_text("loss;acc;device\n1.5;2;cpu\n0.5;;cpu\n0.25;3;cpu\n", encoding="utf-8")
    run = imported(path, TableImporter(), tmp_path / "store")["plain"]
    assert values(run, "acc") == [(0, "2.0"), (2, "3.0")]
    assert values(run, "loss") == [(0, "1.5"), (1, "0.5"), (2, "0.25")]
    assert run.params == {"device": "cpu"}
    assert any("no time" in problem for problem in run.problems)


def test_a_long_table(tmp_path: Path) -> None:
    """`metric` and `value` columns name a point in each row, as `tracelet export` writes them."""
    path = tmp_path / "long.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["metric", "step", "value", "time", "epoch"])
        rows.writerows([name, step, repr(value), 1.7e9, ""] for step, value in zip(STEPS, HARD) for name in "xy")
    run = imported(path, TableImporter(), tmp_path / "store")["long"]
    assert values(run, "x") == values(run, "y") == expected(STEPS, HARD)


def test_what_no_point_can_hold_is_reported(tmp_path: Path) -> None:
    """Fractions of steps, steps and integers beyond 64 bits, and texts among numbers are counted."""
    path = tmp_path / "hard.jsonl"
    usual = [(step, step) for step in range(100)]  # what columns mean is guessed from as many rows
    cells = [*usual, (100.5, 2), (2**70, 3), (101, 2**53 + 1), (102, "many"), (None, 6), (103, None), (104, "NaN")]
    path.write_text("".join(json.dumps({"step": s, "time": 1.7e9, "x": x}) + "\n" for s, x in cells), encoding="utf-8")
    (run,) = imported(path, TableImporter(), tmp_path / "store").values()
    assert values(run, "x")[100:] == [(100, "2.0"), (101, repr(2.0**53)), (102, "6.0"), (104, "nan")]
    assert [problem.partition("1 ")[2] for problem in run.problems] == [
        "integer values are beyond 2**53 and were rounded to doubles",
        "points have a step beyond 64 bits and are not imported",
        "steps have a fraction; the next lower integer is their step here",
        "values of 'x' are no numbers and are not imported",
    ]


@pytest.mark.parametrize(
    ("cell", "micros"),
    [
        (1.7e9, 1_700_000_000_000_000), (1_700_000_000_123, 1_700_000_000_123_000),
        (1_700_000_000_123_456, 1_700_000_000_123_456), (1_700_000_000_123_456_789, 1_700_000_000_123_456),
        ("2023-11-14T22:13:20.5Z", 1_700_000_000_500_000), ("2023-11-15 00:13:20+02:00", 1_700_000_000_000_000),
        ("2023-11-14 22:13:20", 1_700_000_000_000_000), ("soon", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_times_in_any_unit(cell: object, micros: int | None) -> None:
    """Numbers are seconds to nanoseconds by their magnitude; dates without a zone are UTC."""
    assert time_of(cell) == micros


def test_a_row_that_is_being_written_comes_later(tmp_path: Path) -> None:
    """A last line without an end is not read while the file is fresh, so that no half of a number is imported."""
    path = tmp_path / "live.csv"
    path.write_text("step,loss\n0,0.5\n1,0.2", encoding="utf-8")
    (run,) = imported(path, TableImporter(), tmp_path / "store").values()
    assert values(run, "loss") == [(0, "0.5")]
    path.write_text("step,loss\n0,0.5\n1,0.25\n2,0.125", encoding="utf-8")
    os.utime(path, (time.time() - 3600,) * 2)
    (run,) = imported(path, TableImporter(), tmp_path / "store").values()
    assert values(run, "loss") == [(0, "0.5"), (1, "0.25"), (2, "0.125")]


def test_tables_in_folders_only_on_request(tmp_path: Path) -> None:
    """A folder's tables are runs only if the format is named: a folder of data holds tables too."""
    written(tmp_path, "csv")
    assert TableImporter().find(tmp_path) == []
    assert len(TableImporter(in_folders=True).find(tmp_path)) == 2


def test_a_column_that_does_not_exist(tmp_path: Path) -> None:
    """The error names the columns that there are."""
    with pytest.raises(ImportFailed, match="no column epochs. Columns: run, step"):
        TableImporter(TableColumns(step="epochs")).find(written(tmp_path, "csv"))


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_damaged_tables(kind: str, tmp_path: Path) -> None:
    """Whatever bytes are damaged or cut off, there are points, or an error that names the file."""
    whole, chance = written(tmp_path, kind).read_bytes(), random.Random(7)
    for place in range(60):
        path = tmp_path / f"damaged-{place}.{kind}"
        damaged = bytearray(whole[: chance.randrange(len(whole))] if place % 2 else whole)
        for _ in range(5):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        importer = TableImporter()
        try:
            for run in importer.find(path):
                for _ in importer.read(run):
                    pass
        except ImportFailed as error:
            assert str(path) in str(error) or "column" in str(error)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, kind: str, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    ImporterConformance(TableImporter(), written(tmp_path, kind), tmp_path).run(check)
