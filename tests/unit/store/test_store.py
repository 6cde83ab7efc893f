"""The folder of runs: looking up, listing, and folders that are not what they should be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tracelet
from tracelet.errors import InvalidArgument, RunNotFound, StoreError
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Started, Status
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact
from tracelet.store.store import Store, locate, prepare


def add(store: Path, run_id: str, name: str = "n", project: str = "p", time: int = 1, status: str = "finished") -> None:
    """A run in the store."""
    folder = store / "runs" / run_id
    folder.mkdir(parents=True)
    journal = JournalWriter.create(journal_path(folder, "rank-0", 0), redact)
    journal.append(
        [
            Started(run=run_id, name=name, project=project, time=time, host="elsewhere", pid=1),
            Status(time=time + 1, status=status),
        ]
    )
    journal.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three runs, two of one name."""
    add(tmp_path / "s", "aaaa000001", "one", "p", 1)
    add(tmp_path / "s", "aaaa000002", "two", "q", 3, "failed")
    add(tmp_path / "s", "bbbb000003", "two", "p", 2)
    return Store.open(tmp_path / "s")


def test_runs_are_listed_newest_first_and_filtered(store: Store) -> None:
    """The list is ordered by start, and narrowed by project and status."""
    assert [run.id for run in store.runs()] == ["aaaa000002", "bbbb000003", "aaaa000001"]
    assert [run.id for run in store.runs(project="p")] == ["bbbb000003", "aaaa000001"]
    assert [run.id for run in store.runs(status="failed")] == ["aaaa000002"]
    assert store.runs(project="p", status="failed") == []


@pytest.mark.parametrize(
    ("name", "found"),
    [("aaaa000001", "aaaa000001"), ("bbbb", "bbbb000003"), ("one", "aaaa000001"), ("latest", "aaaa000002")],
)
def test_a_run_is_found_by_id_prefix_name_or_latest(store: Store, name: str, found: str) -> None:
    """All four ways to name a run lead to it."""
    assert store.run(name).id == found


def test_latest_is_the_run_that_was_started_or_resumed_last(store: Store) -> None:
    """A resumed run is the latest, whose place in the list stays; a folder of that name does not hide it."""
    journal = JournalWriter.create(journal_path(store.root / "runs" / "aaaa000001", "rank-0", 1), redact)
    journal.append([Started(run="aaaa000001", name="one", project="p", time=9, host="h", pid=2, attempt=1, branch=1)])
    journal.close()
    add(store.root, "latest", "latest", time=4)
    assert store.run("latest").id == "aaaa000001"
    assert [run.id for run in store.runs()][-1] == "aaaa000001"
    (store.root / "runs" / "unreadable").mkdir()
    assert store.run("latest").id == "unreadable", "nothing is known of it but when its folder was made"


@pytest.mark.parametrize(
    ("name", "message"),
    [("aaaa", "2 runs"), ("zzzz", "no run in"), ("", "no run in"), ("../s", "no run in")],
)
def test_a_name_that_fits_none_or_several_is_an_error(store: Store, name: str, message: str) -> None:
    """RunNotFound says which runs answer, or how to see them."""
    with pytest.raises(RunNotFound, match=message):
        store.run(name)


def test_what_can_be_no_run_says_what_can(store: Store) -> None:
    """A status that does not exist and a name that is none are errors that say what to type, not empty answers."""
    with pytest.raises(InvalidArgument, match="Statuses: running, finished"):
        store.runs(status="finish")
    with pytest.raises(InvalidArgument, match="'latest'"):
        store.run(None)  # type: ignore[arg-type]


def test_a_name_of_several_runs_is_the_newest(store: Store) -> None:
    """The name alone leads to the run that started last; who asks for a unique one is told the ids."""
    assert store.run("two").id == "aaaa000002"
    assert store.run("one", unique=True).id == "aaaa000001"
    with pytest.raises(RunNotFound, match="2 runs match 'two': aaaa000002, bbbb000003"):
        store.run("two", unique=True)


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    """A folder that does not exist is a store without runs; asking it for the latest says what to type."""
    store = tracelet.open_store(tmp_path / "none")
    assert store.runs() == []
    with pytest.raises(RunNotFound, match="tracelet demo"):
        store.run("latest")
    assert not (tmp_path / "none").exists()


def test_a_file_is_no_store(tmp_path: Path) -> None:
    """A path that is a file is StoreError, and one whose `runs` is a file has no runs."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(StoreError, match="TRACELET_DIR"):
        Store.open(tmp_path / "file")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "runs").write_text("x", encoding="utf-8")
    assert Store.open(tmp_path / "odd").runs() == []


def test_strange_folders_do_not_disturb_the_list(store: Store) -> None:
    """An empty folder, a stray file and a foreign journal beside the runs are shown as unreadable or not at all."""
    (store.root / "runs" / "empty").mkdir()
    (store.root / "runs" / "stray.txt").write_text("x", encoding="utf-8")
    (store.root / "runs" / "foreign").mkdir()
    (store.root / "runs" / "foreign" / "rank-0.0.tlj").write_bytes(b"not a journal, really not")
    statuses = {run.id: run.info.status for run in store.runs()}
    assert statuses == {
        "aaaa000001": "finished", "aaaa000002": "failed", "bbbb000003": "finished", "empty": "unreadable",
        "foreign": "unreadable",
    }  # fmt: skip


def test_the_store_ignores_itself_in_git(tmp_path: Path) -> None:
    """A prepared store has a .gitignore for everything in it, written once and left alone if it was changed."""
    assert prepare(str(tmp_path / "s")) == tmp_path / "s" / "runs"
    ignore = tmp_path / "s" / ".gitignore"
    assert ignore.read_text(encoding="utf-8") == "*\n"
    ignore.write_text("mine", encoding="utf-8")
    prepare(str(tmp_path / "s"))
    assert ignore.read_text(encoding="utf-8") == "mine"


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path given, else TRACELET_DIR, else [tool.tracelet], else .tracelet in the working directory."""
    assert locate() == tmp_path / ".tracelet"
    Path("pyproject.toml").write_text('[tool.tracelet]\ndir = "from-file"\n', encoding="utf-8")
    assert locate() == tmp_path / "from-file"
    monkeypatch.setenv("TRACELET_DIR", "from-environment")
    assert locate() == tmp_path / "from-environment"
    assert locate(tmp_path / "given") == tmp_path / "given"
    assert locate("~/x") == Path(os.path.expanduser("~/x"))
