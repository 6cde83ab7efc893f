"""`tracelet query` and `Store.query`: SQL over runs gives what the reader gives."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import Result
from pyarrow import parquet

import tracelet
from tracelet.errors import FilterError, QueryError
from tracelet.store.run import Run
from tracelet.store.sql.tables import TABLES

Record = Callable[..., Run]
Call = Callable[..., Result]


@pytest.fixture
def runs(record: Record) -> list[Run]:
    """Two runs with a metric in common, the second with hard values."""
    return [
        record("first", {"loss": [1.0, 0.5]}, params={"lr": 0.1, "model": "small", "flag": True, "none": None}),
        record("second", {"loss": [math.nan, -math.inf], "acc": [0.25]}, params={"lr": 2**60 + 1}, project="other"),
    ]


def rows(sql: str, **more: Any) -> list[dict[str, Any]]:
    return list(tracelet.open_store().query(sql, **more).to_pylist())


def test_points_are_those_of_the_reader(runs: list[Run]) -> None:
    """Steps, values to the last bit, times to the microsecond, and a null epoch outside one."""
    found = tracelet.open_store().query("select * from points order by run, metric, time, step")
    by_series: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    for row in found.to_pylist():
        time = row["time"].replace(tzinfo=datetime.timezone.utc).timestamp()
        by_series.setdefault((row["run"], row["metric"]), []).append((row["step"], row["value"], time))
        assert (row["epoch"], row["stage"], row["fit"]) == (None, "", 0)
    expected = {}
    for run in runs:
        for name in run.metrics():
            series = run.series(name)
            expected[run.id, name] = list(zip(series.steps.tolist(), series.values.tolist(), series.times.tolist()))
    assert repr(by_series) == repr(dict(sorted(expected.items())))


def test_runs_params_and_metrics_join(runs: list[Run]) -> None:
    """A question that spans tables has its answer in one query, self-joins and pivots included."""
    assert rows(
        "select r.name, p.number as lr, m.last from runs r join params p on p.run = r.id and p.name = 'lr' "
        "join metrics m on m.run = r.id and m.metric = 'loss' order by r.started"
    ) == [{"name": "first", "lr": 0.1, "last": 0.5}, {"name": "second", "lr": float(2**60 + 1), "last": -math.inf}]
    assert rows("select count(*) as n from points a join points b using (run, metric, step)") == [{"n": 5}]
    pivoted = rows("pivot params on name using first(value) group by run order by lr")
    assert [(row["lr"], row["model"], row["flag"], row["none"]) for row in pivoted] == [
        ("0.1", "small", "true", None), (str(2**60 + 1), None, None, None),
    ]  # fmt: skip


def test_only_what_is_asked_for_is_read(runs: list[Run]) -> None:
    """A filter chooses runs, and `metrics` chooses metrics, before the query sees any row."""
    assert rows("select distinct run from points", filter="lr < 1") == [{"run": runs[0].id}]
    assert rows("select name from runs", filter="secon*") == [{"name": "second"}]  # words, as in `tracelet ls`
    assert rows("select metric, count(*) as n from points group by all", metrics=["acc"]) == [{"metric": "acc", "n": 1}]
    with pytest.raises(FilterError, match="Did you mean"):
        rows("select * from runs", filter="lrr < 1")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("selec 1", "syntax error"),
        ("select * from run", "Tables: runs, params, tags"),
        ("select nam from runs", "Candidate bindings"),
        ("select 1; select 2", "expected one query"),
        ("drop table runs", "expected one query"),
        ("copy runs to 'x.csv'", "expected one query"),
        ("", "expected one query"),
        ("select cast(name as int) from runs", "Could not convert"),
    ],
)
def test_wrong_sql_is_explained(runs: list[Run], sql: str, message: str) -> None:
    """One error of ours with the engine's explanation, and nothing is written."""
    before = sorted(Path.cwd().rglob("*"))
    with pytest.raises(QueryError, match=message):
        rows(sql)
    assert sorted(Path.cwd().rglob("*")) == before


def test_variables_of_the_program_are_no_tables(runs: list[Run]) -> None:
    """A name in a query never means a Python variable, as it does in DuckDB otherwise."""
    with pytest.raises(QueryError, match="not_a_table"):
        rows("select * from not_a_table")
    not_a_table = duckdb.sql("select 1")
    assert not_a_table is not None


def test_an_empty_store_has_empty_tables() -> None:
    """Every table exists with its columns before there is a run."""
    for name, table in TABLES.items():
        assert tracelet.open_store().query(f"select * from {name}").schema.names == [one.name for one in table.columns]
        described = rows(f"describe {name}")
        assert [row["column_name"] for row in described] == [one.name for one in table.columns]


def test_the_other_tables_hold_what_the_run_holds(record: Record, tmp_path: Path) -> None:
    """Tags, events, spans and artifacts, with their attributes as JSON that SQL can look into."""
    kept = tmp_path / "kept.txt"
    kept.write_text("x", encoding="utf-8")
    experiment = tracelet.start_logging("run", tags={"team": "vision"}, config={"quiet": True, "track_git": False})
    with tracelet.span("prepare", rows=3) as span:
        span.add_event("loaded", rows=3)
    experiment.log_artifact(kept)
    tracelet.stop_logging()
    run = tracelet.open_store().run(experiment.id)
    assert rows("select name, value from tags where name = 'team'") == [{"name": "team", "value": "vision"}]
    assert rows("select name, attributes->>'$.rows' as n from spans where name = 'prepare'") == [
        {"name": "prepare", "n": "3"}
    ]
    assert rows("select sum(duration_ns) / 1e9 > 0 as some from spans") == [{"some": True}]
    assert rows("select count(*) as n from events where name = 'loaded'") == [{"n": 1}]
    (artifact,) = run.artifacts
    assert rows("select name, size, digest from artifacts") == [
        {"name": "kept.txt", "size": 1, "digest": artifact.digest}
    ]


def test_the_command_prints_and_writes_every_format(runs: list[Run], call: Call, tmp_path: Path) -> None:
    """A table for people; CSV, JSON lines and Parquet for programs, chosen by the file's suffix too."""
    sql = "select metric, step, value from points order by metric, run, step"
    shown = call("query", sql).stdout.splitlines()
    assert shown[0].split() == ["metric", "step", "value"]
    assert len(shown) == 1 + 5
    listed = list(csv.DictReader(io.StringIO(call("query", sql, "-f", "csv").stdout)))
    assert [row["value"] for row in listed if row["metric"] == "acc"] == ["0.25"]
    assert sorted(row["value"] for row in listed if row["metric"] == "loss") == ["-inf", "0.5", "1.0", "NaN"]
    lines = call("query", sql, "-f", "json").stdout.splitlines()
    assert json.loads(lines[0]) == {"metric": "acc", "step": 0, "value": 0.25}
    call("query", sql, "-o", str(tmp_path / "rows.parquet"))
    assert parquet.read_table(tmp_path / "rows.parquet").num_rows == 5
    call("query", "select started from runs", "-o", str(tmp_path / "rows.csv"))
    assert (tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()[1].endswith("Z")


def test_the_command_explains_errors(runs: list[Run], call: Call, tmp_path: Path) -> None:
    """One line on stderr and exit code 2."""
    wrong = call("query", "select * from pionts", code=2)
    assert "Tables: runs" in wrong.stderr
    nowhere = call("query", "select 1", "-o", str(tmp_path / "no" / "rows.csv"), code=2)
    assert "cannot be written" in nowhere.stderr
