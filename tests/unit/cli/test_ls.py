"""`tracelet ls`: which runs it lists, in which order, with which columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from tracelet.run import Run

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
    assert 'metrics["val/loss"]' in call("ls", "--filter", "val/loss < 1", code=2).stderr


def test_sorting_by_nothing_known_is_an_error(three: list[Run], call: Call) -> None:
    """A column that no run has is named, with exit code 2."""
    assert "'losss'" in call("ls", "--sort", "losss", code=2).stderr


def test_narrow_terminals_and_ascii_lose_nothing(three: list[Run], call: Call) -> None:
    """In 40 columns the ids are still whole, and an encoding without blocks is no error."""
    output = call("ls", env={"COLUMNS": "40"}).output
    assert all(run.id in output for run in three)
    assert call("ls", charset="ascii").output.isascii()


def test_names_with_brackets_are_text(record: Record, call: Call) -> None:
    """A run called like rich's markup is shown as it is called."""
    record("[red]x[/red]")
    assert "[red]x[/red]" in call("ls").output
