"""Runs with several fits on the command line: `show`, `ls` and `compare`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import tracelet
from tracelet.cli import main


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one run of two fits."""
    monkeypatch.setenv("TRACELET_DIR", str(tmp_path))
    settings = {"track_system": False, "track_env": False, "track_git": False, "quiet": True, "delivery": "off"}
    with tracelet.start_logging("folds", config=settings, params={"data": "digits"}):
        for fold, loss in enumerate((0.2, 0.9)):
            with tracelet.fit({"lr": 0.1 / (fold + 1)}, fold=fold):
                tracelet.log({"loss": loss})
    return tmp_path


def call(*arguments: str) -> str:
    """What the command prints."""
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_show_has_a_table_of_fits(store: Path) -> None:
    """`show` lists what the fits differ in, and what they have in common; `RUN:2` and `--fit 2` show one."""
    page = call("show", "folds")
    assert "Parameters that all fits have" in page
    rows = [line.split() for line in page.splitlines()]
    assert rows[[row[:1] for row in rows].index(["1"])][:2] == ["1", "finished"]
    one = call("show", "folds:2")
    assert one == call("show", "folds", "--fit", "2")
    assert ("fit 2" in one, "0.05" in one, "0.2" in one.split("Metrics")[1].split("Events")[0]) == (True, True, False)
    found = json.loads(call("show", "folds:1", "--json"))
    assert (found["number"], found["params"], found["metrics"]["loss"]["last"]) == (
        1, {"data": "digits", "lr": 0.1, "fold": 0}, 0.2
    )  # fmt: skip
    assert [fit["number"] for fit in json.loads(call("show", "folds", "--json"))["fits"]] == [1, 2]


def test_ls_lists_fits(store: Path) -> None:
    """`ls --fits` has a row for each fit; a filter that one fit matches lists that one."""
    assert [row["fit"] for row in json.loads(call("ls", "--fits", "--json"))] == [1, 2]
    (row,) = json.loads(call("ls", "--filter", "lr < 0.07 and loss > 0.5", "--json"))
    assert (row["fit"], row["params"]["fold"], row["metrics"]) == (2, 1, {"loss": 0.9})
    assert ":2" in call("ls", "--filter", "fold == 1")
    assert json.loads(call("ls", "--filter", "lr < 0.07 and loss < 0.5", "--json")) == []


def test_compare_takes_fits(store: Path) -> None:
    """`compare RUN:1 RUN:2` compares two fits of one run."""
    found = json.loads(call("compare", "folds:1", "folds:2", "--json"))
    assert found["params"] == {"fold": [0, 1], "lr": [0.1, 0.05]}
    assert found["metrics"]["loss"]["last"] == [0.2, 0.9]
