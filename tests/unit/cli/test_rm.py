"""`tracelet rm`: what it deletes, and what it does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

import tracelet
from tracelet.agent.process.locks import Lock, lock_path
from tracelet.store import delivery_state
from tracelet.store.delivery_state import Delivery
from tracelet.store.run import Run

Record = Callable[..., Run]
Call = Callable[..., Result]


def names() -> list[str]:
    """The runs in the default store."""
    return sorted(run.info.name for run in tracelet.open_store().runs())


def test_it_asks_first(record: Record, call: Call) -> None:
    """Without a yes nothing is deleted; with one, the runs named and no others."""
    for name in ("a", "b", "c"):
        record(name)
    call("rm", "a", "b", input="n\n", code=1)
    call("rm", "a", "b", input="", code=1)
    assert names() == ["a", "b", "c"]
    call("rm", "a", "b", input="y\n")
    assert names() == ["c"]


def test_one_unknown_name_deletes_nothing(record: Record, call: Call) -> None:
    """All names are looked up before anything is deleted."""
    record("a")
    call("rm", "-y", "a", "nothing", code=2)
    assert names() == ["a"]


def test_a_name_of_several_runs_deletes_none(record: Record, call: Call) -> None:
    """A name that two runs have is refused with their ids, although `show` takes the newest."""
    runs = [record("twice"), record("twice")]
    refused = call("rm", "-y", "twice", code=2).stderr
    assert all(run.id in refused for run in runs)
    assert names() == ["twice", "twice"]
    assert runs[1].id in call("show", "twice").output


def test_a_run_that_is_being_delivered_needs_force(record: Record, call: Call) -> None:
    """What an agent is about to send is not taken from under it; else there is no need."""
    for name, state, at_work in (("sent", "done", True), ("given up", "offline", False), ("on its way", "ok", True)):
        run = record(name)
        delivery_state.write(run.path, Delivery(backend="mlflow", state=state))
        lock = Lock(lock_path(run.path))
        assert lock.acquire()
        if not at_work:
            lock.release()
        if name == "on its way":
            said = call("rm", "-y", name, code=2).stderr
            assert "delivered to mlflow" in said and "--force" in said and names() == [name]
        call("rm", "-y", name, *(["--force"] if name == "on its way" else []))
        lock.release()
    assert names() == []


def test_a_running_run_needs_force(call: Call) -> None:
    """A run whose process lives is refused, unless --force is given."""
    with tracelet.start_logging("alive", config={"quiet": True, "track_system": False}) as experiment:
        assert "--force" in call("rm", "-y", "alive", code=2).stderr
        assert experiment.folder.exists()
    call("rm", "-y", "--force", "alive")
    assert names() == []


def test_links_are_not_followed(record: Record, call: Call, tmp_path: Path) -> None:
    """A run's folder that is a link elsewhere is refused, and a link inside a run is removed without its target."""
    run = record("linked")
    outside = tmp_path / "outside"
    run.path.rename(outside)
    os.symlink(outside, run.path)
    assert "link" in call("rm", "-y", run.id, code=2).stderr
    inside = record("inside")
    os.symlink(outside, inside.path / "link")
    call("rm", "-y", "inside")
    assert not inside.path.exists()
    assert sorted(path.suffix for path in outside.iterdir()) == sorted(path.suffix for path in run.path.iterdir())
    assert outside.exists()


def test_a_short_name_comes_before_an_id(record: Record, call: Call) -> None:
    """A run called like the beginning of another one's id is the one that is meant; alone, two characters are an id."""
    other = record("other")
    short = record(other.id[:2])
    call("rm", "-y", other.id[:2])
    assert not short.path.exists()
    assert other.id in call("show", other.id[:2]).output


def test_a_path_is_no_name_of_a_run(record: Record, call: Call, tmp_path: Path) -> None:
    """Neither `..` nor an absolute path leads out of the store."""
    record("a")
    for name in ("..", "../..", str(tmp_path), ".", "/", ""):
        call("rm", "-y", name, code=2)
    assert names() == ["a"]
