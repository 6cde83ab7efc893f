"""`tracelet rename`, `tag` and `archive`: what they change, and that they change nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

import tracelet
from tracelet.store.run import Run

Record = Callable[..., Run]
Call = Callable[..., Result]


def test_a_run_is_renamed_and_gets_its_name_back(record: Record, call: Call) -> None:
    """The journal keeps the original name; an empty name restores it."""
    run = record("first", {"loss": [1.0]})
    before = [path.read_bytes() for path in run.path.glob("*.tlj")]
    assert "named second" in call("rename", "first", "second").output
    assert (tracelet.open_store().run("second").id, run.info.original_name) == (run.id, "first")
    call("rename", "second", "")
    assert tracelet.open_store().run("first").info.name == "first"
    assert [path.read_bytes() for path in run.path.glob("*.tlj")] == before


def test_tags_are_set_and_removed_for_several_runs(record: Record, call: Call) -> None:
    """A tag without a value is `true`; one of the program's own can be removed; nothing to do is an error."""
    runs = [record(name, tags={"old": "x"}) for name in ("a", "b")]
    call("tag", "a", "b", "-t", "good", "--tag", "team=vision", "--remove", "old")
    assert [run.tags for run in runs] == [{"good": "true", "team": "vision"}] * 2
    call("tag", "a", code=2)
    call("tag", "a", "--tag", "=x", code=2)


def test_an_archived_run_is_left_out_of_lists_and_kept(record: Record, call: Call) -> None:
    """It is found by name, listed on request, and comes back."""
    record("old", {"loss": [1.0]})
    record("new")

    def listed(*more: str) -> list[str]:
        return [run["name"] for run in json.loads(call("ls", "--json", *more).output)]

    call("archive", "old")
    assert (listed(), listed("--archived"), tracelet.open_store().run("old").info.archived) == (
        ["new"], ["new", "old"], True,
    )  # fmt: skip
    call("archive", "old", "--undo")
    assert listed() == ["new", "old"]
