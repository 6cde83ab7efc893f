"""Parquet files to the schema that neptune-exporter publishes, written by pyarrow: the exporter cannot run any more."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.importing import FAR, HARD, expected, imported, points, values
from tracelet.errors import ImportFailed
from tracelet.importers.neptune import NeptuneImporter
from tracelet.testing import ImporterConformance

STEPS = (0, 1, 1, 3, 2, 10**11, 5, 7)
TIME = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
SCHEMA = pyarrow.schema(
    [
        ("project_id", pyarrow.string()), ("run_id", pyarrow.string()), ("attribute_path", pyarrow.string()),
        ("attribute_type", pyarrow.string()), ("step", pyarrow.decimal128(18, 6)),
        ("timestamp", pyarrow.timestamp("ms", tz="UTC")), ("int_value", pyarrow.int64()),
        ("float_value", pyarrow.float64()), ("string_value", pyarrow.string()), ("bool_value", pyarrow.bool_()),
        ("datetime_value", pyarrow.timestamp("ms", tz="UTC")), ("string_set_value", pyarrow.list_(pyarrow.string())),
        ("file_value", pyarrow.struct([("path", pyarrow.string())])),
        ("histogram_value", pyarrow.struct([("type", pyarrow.string()), ("edges", pyarrow.list_(pyarrow.float64())),
                                            ("values", pyarrow.list_(pyarrow.float64()))])),
    ]
)  # fmt: skip


def row(path: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"project_id": "team/vision", "run_id": "VIS-1", "attribute_path": path, "attribute_type": kind, **more}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An exported project with a run in two parts."""
    folder = tmp_path / "export" / "team_vision_ab12"
    folder.mkdir(parents=True)
    facts = [
        row("sys/name", "string", string_value="first"), row("params/lr", "float", float_value=0.1),
        row("params/far", "int", int_value=FAR), row("params/flag", "bool", bool_value=True),
        row("sys/tags", "string_set", string_set_value=["a", "b"]),
        row("model/weights", "file", file_value={"path": "files/weights.pt"}),
        row("monitoring/stdout", "string_series", step=Decimal(0), timestamp=TIME, string_value="hello\n"),
        row("grad", "histogram_series", step=Decimal(0), timestamp=TIME,
            histogram_value={"type": "COUNTING", "edges": [0.0, 1.0], "values": [3.0]}),
    ]  # fmt: skip
    series = [row("train/loss", "float_series", step=Decimal(step), timestamp=TIME, float_value=value)
              for step, value in zip(STEPS, HARD)]  # fmt: skip
    series.append(row("half", "float_series", step=Decimal("1.500000"), timestamp=TIME, float_value=1.0))
    for part, rows in enumerate((facts + series[:4], series[4:])):
        table = pyarrow.Table.from_pylist(rows, schema=SCHEMA)
        pyarrow.parquet.write_table(table, folder / f"VIS-1_part_{part}.parquet", compression="snappy")
    (folder / "VIS-2_part_1.parquet").write_bytes(b"without part 0 the run is not complete")
    return tmp_path / "export"


def test_all_parts_are_one_run(source: Path, tmp_path: Path) -> None:
    """Every value with its step and time, parameters, tags, files and console; histograms are reported."""
    (run,) = imported(source, NeptuneImporter(), tmp_path / "store").values()
    assert (run.info.name, run.info.project) == ("first (VIS-1)", "team/vision")
    assert values(run, "train/loss") == expected(STEPS, HARD)
    assert {time for _, _, time in points(run, "train/loss")} == {TIME.timestamp()}
    assert values(run, "half") == [(1, "1.0")]
    assert run.params == {"params/lr": 0.1, "params/far": FAR, "params/flag": True}
    assert run.tags == {"a": "true", "b": "true"}
    assert [one.name for one in run.artifacts] == ["model/weights"]
    told = "\n".join(run.problems)
    assert "have a fraction" in told and "'histogram_series'" in told


def test_damaged_files(source: Path) -> None:
    """A run whose file is no Parquet is found, and reading it is an error that names the file."""
    (path,) = source.rglob("*_part_0.parquet")
    path.write_bytes(path.read_bytes()[:500])
    (run,) = NeptuneImporter().find(source)
    with pytest.raises(ImportFailed, match="VIS-1_part_0.parquet cannot be read as Parquet"):
        list(NeptuneImporter().read(run))


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, source: Path, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    ImporterConformance(NeptuneImporter(), source, tmp_path).run(check)
