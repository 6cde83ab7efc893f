"""`tracelet ls`: which runs it lists, in which order, with which columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from tracelet.store.run import Run

Record = Callable[..., Run]
Call = Callable[..., Result]


@pytest.fixture
def three(record: Record) -> list[Run]:
    """Three runs, oldest first; the second failed, the third has no loss."""
    return [
        record("one", {"val/loss": [0.9, 0.3], "accuracy": [0.5]}, project="a", params={"lr": 0.1}),
        record("two", {"val/loss": [0.8, 0.1]}, error=ValueError("too big"), project="a", params={"lr": 0.01}),
        record("three", {"other": [float("nan")]}, project="b", params={"model": {"depth": 3}}),
    ]


def listed(result: Result) -> list[str]:
    """The names in a printed table."""
    return [line.split()[1] for line in result.output.splitlines()[1:]]


def test_runs_come_newest_first(three: list[Run], call: Call) -> None:
    """The last run started stands on top; --reverse turns that round."""
    assert listed(call("ls")) == ["three", "two", "one"]
    assert listed(call("ls", "--reverse")) == ["one", "two", "three"]


def test_ids_status_and_metrics_are_shown(three: list[Run], call: Call) -> None:
    """The table holds the whole id, the status and the last value of what the programs logged."""
    output = call("ls").output
    assert all(run.id in output for run in three)
    row = next(line for line in output.splitlines() if " one " in line)
    assert "finished" in row
    assert "0.3" in row
    assert "failed" in next(line for line in output.splitlines() if " two " in line)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--project", "a"], ["two", "one"]),
        (["--status", "failed"], ["two"]),
        (["--limit", "1"], ["three"]),
        (["--filter", 'lr < 0.05 and status == "failed"'], ["two"]),
        (["--filter", 'metrics["val/loss"] < 0.2'], ["two"]),
        (["--filter", 'params["model/depth"] == 3'], ["three"]),
        (["--sort", "val/loss"], ["two", "one", "three"]),
        (["--sort", "lr", "--reverse"], ["one", "two", "three"]),
        (["--sort", "name"], ["one", "three", "two"]),
    ],
)
def test_runs_are_chosen_and_sorted(three: list[Run], call: Call, arguments: list[str], names: list[str]) -> None:
    """Filters keep what they say; sorting puts the least first, and what has no value last in both directions."""
    assert listed(call("ls", *arguments)) == names


def test_columns_asked_for_are_shown(three: list[Run], call: Call) -> None:
    """--metric and --param choose the columns; a run without the value has a dash."""
    lines = call("ls", "--metric", "accuracy", "--param", "lr").output.splitlines()
    assert lines[0].split()[-2:] == ["lr", "accuracy"]
    assert lines[-1].split()[-2:] == ["0.1", "0.5"]
    assert lines[1].split()[-2:] == ["-", "-"]


def test_json_holds_exact_values(three: list[Run], call: Call) -> None:
    """--json is standard JSON with every metric and parameter, NaN as a text."""
    found: list[dict[str, Any]] = json.loads(call("ls", "--json").output)
    assert [run["name"] for run in found] == ["three", "two", "one"]
    assert found[2]["metrics"] == {"accuracy": 0.5, "val/loss": 0.3}
    assert found[2]["params"] == {"lr": 0.1}
    assert found[0]["metrics"] == {"other": "NaN"}
    assert found[1]["reason"] == "ValueError: too big"


def test_an_empty_store_says_what_to_type(call: Call) -> None:
    """Without runs the table is left out, and stderr names a way to get one; that is no failure."""
    result = call("ls")
    assert result.stdout == ""
    assert "tracelet demo" in result.stderr
    assert json.loads(call("ls", "--json").stdout) == []


def test_an_unknown_name_in_a_filter_is_an_error(three: list[Run], call: Call) -> None:
    """A misspelt name is not taken for a run without it: the nearest name is suggested, with exit code 2."""
    result = call("ls", "--filter", "statuss == 'failed'", code=2)
    assert "'status'" in result.stderr
    assert "quotes" in call("ls", "--filter", "status == 'failed' and bzzt", code=2).stderr
    assert 'metrics["val/loss"]' in call("ls", "--filter", "val/lss < 1", code=2).stderr


def test_sorting_by_nothing_known_is_an_error(three: list[Run], call: Call) -> None:
    """A column that no run has is named, with exit code 2."""
    assert "'losss'" in call("ls", "--sort", "losss", code=2).stderr


def test_narrow_terminals_and_ascii_lose_nothing(three: list[Run], call: Call) -> None:
    """In 40 columns the ids are still whole, and an encoding without blocks is no error."""
    output = call("ls", env={"COLUMNS": "40"}).output
    assert all(run.id in output for run in three)
    assert call("ls", charset="ascii").output.isascii()


def test_eighty_columns_show_the_best_known_metric(record: Record, call: Call) -> None:
    """The metric that most runs have stays; what has no room is said."""
    for number in range(3):
        metrics = {"val/loss": [0.123456], "accuracy": [0.5], "train/loss": [1.0]} if number else {"val/loss": [0.25]}
        record(f"a-longer-name-of-a-run-{number}", metrics, project="speech-recognition")
    lines = call("ls", env={"COLUMNS": "80"}).output.splitlines()
    assert "val/loss" in lines[0]
    assert "train/loss" not in lines[0]
    assert lines[-1].startswith("not shown for lack of width: ")
    assert "train/loss" in lines[-1]
    assert "not shown" not in call("ls").output


def test_names_with_brackets_are_text(record: Record, call: Call) -> None:
    """A run called like rich's markup is shown as it is called."""
    record("[red]x[/red]")
    assert "[red]x[/red]" in call("ls").output


@pytest.mark.parametrize("name", ["lr", "duration", "status", "name", "age", "metrics"])
def test_a_column_is_the_quantity_asked_for(record: Record, call: Call, name: str) -> None:
    """A metric called like a field or a parameter is shown as the metric, beside the others; which is said."""
    record("one", {name: [77.5]}, params={name: 0.25})
    output = call("ls", "--param", name, "--metric", name).output.splitlines()
    assert output[0].endswith(f"{name} (parameter)  {name} (metric)")
    assert output[1].split()[-2:] == ["0.25", "77.5"]
    assert call("ls").output.splitlines()[1].split()[-1] == "77.5"


def test_what_is_missing_does_not_come_from_elsewhere(record: Record, call: Call) -> None:
    """A run without the parameter has a dash, though it has a metric of that name; a parameter None is none."""
    record("one", {"lr": [0.5]})
    record("two", params={"lr": None})
    rows = call("ls", "--param", "lr").output.splitlines()
    assert [row.split()[-1] for row in rows] == ["lr", "None", "-"]


def test_what_sorts_and_what_is_filtered_by_is_shown(three: list[Run], call: Call) -> None:
    """The columns that --sort and --filter name stand in the table, once."""
    assert call("ls", "--sort", "val/loss", "--param", "lr").output.splitlines()[0].split()[-2:] == ["lr", "val/loss"]
    lines = call("ls", "--filter", "lr == 0.1 and age > 0 and accuracy > 0").output.splitlines()
    assert lines[0].split()[6:] == ["accuracy", "age", "lr", "val/loss"]
    assert lines[1].split()[-2:] == ["0.1", "0.3"]
    assert call("ls", "--sort", "duration").output.splitlines()[0].split().count("duration") == 1


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["--metric", "accuracie"], "a metric 'accuracie'. Did you mean: accuracy."),
        (["--param", "accuracy"], "a parameter 'accuracy'. Available: lr, model/depth."),
        (["--metric", "zzz", "--json"], "a metric 'zzz'. Available: accuracy, other, val/loss."),
        (["--sort", "val/los"], "a column, parameter or metric 'val/los'. Did you mean: val/loss."),
    ],
)
def test_names_that_no_run_has_are_errors(three: list[Run], call: Call, arguments: list[str], near: str) -> None:
    """The nearest names are told, or those that there are; a name that only other runs have is none."""
    told = call("ls", *arguments, code=2).stderr
    assert near in told
    assert told.count("\n") == 1
    assert call("ls", "--project", "b", "--metric", "accuracy", "--sort", "lr").output.count(" -") == 2


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--project", "c"], "To list all: tracelet ls --dir"),
        (["--filter", "lr > 5", "--sort", "lr"], "To list all: tracelet ls --dir"),
        (
            ["--filter", 'duration > "5s"'],
            "duration is a number: remove the quotes",
        ),
        (["--filter", 'lr == "0.1"'], "lr is a number"),
    ],
)
def test_nothing_that_matches_is_no_empty_store(three: list[Run], call: Call, arguments: list[str], hint: str) -> None:
    """How many runs there are is told, and what to type; the demo is for stores without runs."""
    result = call("ls", "--dir", str(three[0].path.parents[1]), *arguments)
    assert result.stdout == ""
    assert "no runs match (of 3 runs in" in result.stderr
    assert hint in result.stderr
    assert "demo" not in result.stderr


def test_names_do_not_break_the_head(record: Record, call: Call) -> None:
    """A newline in a metric's name is shown as such, and in a terminal the middle of a long name is left out."""
    record("one", {"two\nlines": [1.0], "x" * 500 + "y" * 500: [2.0]})
    assert "two\\nlines" in call("ls").output.splitlines()[0]
    lines = call("ls", env={"COLUMNS": "140"}).output.splitlines()
    assert len(lines) == 2
    assert "x" * 16 + "..." + "y" * 16 in lines[0]
    assert "x" * 500 in call("ls").output
