"""A run as read from its journals: status, merging, damage, and reading on while it is written."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.journals import finish, footer, gone, points, started, write
from tracelet.capture.packer import Packer
from tracelet.journal.frames import HEADER, PREAMBLE, encode_frame
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Chunk, Event, Facts, Notice, Params, Points, Status, Tags
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact
from tracelet.store.process_status import SILENCE_TIMEOUT
from tracelet.store.run import Run


def test_a_live_process_is_running(tmp_path: Path) -> None:
    """Without a last word and with its process there, a run goes on and has no end."""
    write(tmp_path / "r1", started())
    info = Run(tmp_path / "r1").info
    assert (info.status, info.ended, info.name, info.project) == ("running", None, "first", "p")
    assert info.duration > 0


def test_a_process_that_is_gone_without_a_word_was_killed(tmp_path: Path) -> None:
    """The process is not there any more: killed, at the time of the last sign of life."""
    path = write(tmp_path / "r1", started(pid=gone(), process_started=1.0))
    os.utime(path, (5000, 5000))
    info = Run(tmp_path / "r1").info
    assert (info.status, info.ended) == ("killed", 5000)
    assert "without reporting an exit" in info.reason


def test_a_reused_pid_is_not_taken_for_the_process(tmp_path: Path) -> None:
    """A process with the right id and another start is somebody else."""
    write(tmp_path / "r1", started(process_started=1.0))
    assert Run(tmp_path / "r1").info.status == "killed"


@pytest.mark.parametrize(("age", "status"), [(0.0, "running"), (SILENCE_TIMEOUT + 5, "killed")])
def test_another_hosts_process_is_judged_by_its_signs_of_life(tmp_path: Path, age: float, status: str) -> None:
    """On another host only the file's time can tell: silence for a minute means gone."""
    path = write(tmp_path / "r1", started(host="elsewhere"))
    os.utime(path, (time.time() - age, time.time() - age))
    info = Run(tmp_path / "r1").info
    assert info.status == status
    assert (status == "running") == (info.ended is None)


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted", "preempted"])
def test_what_the_process_said_counts(tmp_path: Path, status: str) -> None:
    """A last word is believed, with its reason and traceback."""
    last = Status(time=3_000_000, status=status, reason="why", traceback="Traceback ...")
    write(tmp_path / "r1", started(), last)
    run = Run(tmp_path / "r1")
    assert (run.info.status, run.info.reason, run.info.ended) == (status, "why", 3.0)
    assert run.status_record == last


def test_the_last_attempt_of_the_lowest_rank_speaks_for_the_run(tmp_path: Path) -> None:
    """Of many attempts the last one has the status and the first one the beginning."""
    for attempt in range(12):
        status = Status(time=9_000_000, status="finished" if attempt == 11 else "failed")
        write(tmp_path / "r1", started(attempt=attempt), points("a", [attempt]), status)
    write(tmp_path / "r1", started(rank=1), Status(time=9, status="finished"))
    run = Run(tmp_path / "r1")
    assert (run.info.status, run.info.started) == ("finished", 1.0)
    series = run.series("a")
    assert series.values.tolist() == list(range(12))
    assert [segment.attempt for segment in series.segments] == list(range(12))


def test_ranks_are_told_apart(tmp_path: Path) -> None:
    """Each rank's points can be read; without a rank they are reduced; an unknown one is a KeyError."""
    write(tmp_path / "r1", started(rank=0), points("a", [1.0]))
    write(tmp_path / "r1", started(rank=1), points("a", [2.0]), points("only", [3.0]))
    run = Run(tmp_path / "r1")
    assert run.series("a").values.tolist() == [1.5]
    assert run.series("a", rank=1).values.tolist() == [2.0]
    assert run.series("only").values.tolist() == [3.0]
    for name, rank in (("none", None), ("a", 2), ("only", 0)):
        with pytest.raises(KeyError, match="has no metric"):
            run.series(name, rank)


def test_params_tags_facts_and_events_are_merged(tmp_path: Path) -> None:
    """Later records override earlier ones name by name, an empty tag goes, events come by time."""
    write(
        tmp_path / "r1", started(), Params(time=1, values={"lr": 0.1, "n": 2}), Params(time=2, values={"lr": 0.2}),
        Tags(time=1, values={"a": "1", "b": "2"}), Tags(time=2, values={"a": ""}),
        Facts(time=1, topic="git", values={"commit": "x"}), Facts(time=2, topic="git", values={"commit": "y"}),
        Event(time=5, name="late"), Event(time=3, name="early"),
    )  # fmt: skip
    run = Run(tmp_path / "r1")
    assert run.params == {"lr": 0.2, "n": 2}
    assert run.tags == {"b": "2"}
    assert run.git == {"commit": "y"}
    assert run.environment == {}
    assert [event.name for event in run.events()] == ["early", "late"]


def test_an_empty_folder_is_an_unreadable_run(tmp_path: Path) -> None:
    """A folder without journals has a status of its own and nothing in it; nothing raises."""
    (tmp_path / "r1").mkdir()
    run = Run(tmp_path / "r1")
    assert run.info.status == run.status_record.status == "unreadable"
    assert (run.metrics(), run.params, run.tags, run.artifacts, run.events(), run.problems) == ([], {}, {}, [], [], [])
    assert len(run.spans()) == 0


def test_a_foreign_file_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    """A file that is no journal costs itself; the run says so in its problems."""
    write(tmp_path / "r1", started(), points("a", [1.0]))
    (tmp_path / "r1" / "rank-1.0.tlj").write_bytes(b"this is not a journal, it only has the name")
    run = Run(tmp_path / "r1")
    assert run.series("a").values.tolist() == [1.0]
    assert len(run.problems) == 1
    assert "rank-1.0.tlj" in run.problems[0]
    assert "not a tracelet journal" in run.problems[0]


def test_without_its_first_record_a_journal_is_still_read(tmp_path: Path) -> None:
    """With the record of the start damaged, rank and attempt come from the file's name and the points are there."""
    path = write(tmp_path / "r1", started(rank=3, attempt=2), points("a", [1.0, 2.0]))
    data = bytearray(path.read_bytes())
    data[PREAMBLE.size + HEADER.size + 3] ^= 0xFF
    path.write_bytes(bytes(data))
    run = Run(tmp_path / "r1")
    assert run.series("a", rank=3).values.tolist() == [1.0, 2.0]
    assert run.info.id == "r1"
    assert run.info.status == "running"  # the file is young and no host is known
    assert any("start record is missing" in problem for problem in run.problems)


def test_notices_are_among_the_problems(tmp_path: Path) -> None:
    """What the writer had to give up is told to whoever reads the run."""
    write(tmp_path / "r1", started(), Notice(time=1, code="disk", message="3 points were given up.", count=3))
    assert Run(tmp_path / "r1").problems == ["rank-0.0.tlj: 3 points were given up."]


DAMAGED = [
    Chunk(name="a", count=10**12, steps=("=", 0, 1), times=("=", 0, 1), values=("*", 1.0, b"")),
    Chunk(name="a", count=0, steps=("=", 0, 1), times=("=", 0, 1), values=("*", 1.0, b"")),
    Chunk(name="a", count=2, steps=("q", 0, b"123"), times=("=", 0, 1), values=("*", 1.0, b"")),
    Chunk(name="a", count=2, steps=("=", 0, 1), times=("=", 0, 1), values=("d", 0.0, b"short")),
    Chunk(name="a", count=1, steps=("=", 2**64 - 1, 0), times=("=", 0, 1), values=("*", 1.0, b"")),
    Chunk(name="a", count=1, steps=("=", 0, 0), times=("=", 0, 1), values=("*", 1.0, b""), epochs=("=", 0.5, 0)),
    Chunk(name="a", count=1, steps=("=", 0, 0), times=("=", 0, 1), values=("*", 1.0, b""), weights=("zd", 0, b"zlib?")),
]


@pytest.mark.parametrize("chunk", DAMAGED)
@pytest.mark.parametrize("seal", [False, True])
def test_a_chunk_that_cannot_be_meant_costs_only_itself(tmp_path: Path, chunk: Chunk, seal: bool) -> None:
    """Points before and behind an impossible chunk are read, without the memory that it claims; problems say so."""
    records = points("a", [1.0]), Points(chunks=[chunk]), points("a", [2.0], step=1)
    path = write(tmp_path / "r1", started(), *records)
    if seal:
        packer = Packer()
        packer.pack([("a", 0, 1.0, 1.0), ("a", 1, 2.0, 1.0)])
        summaries = list(packer.summaries.all().values())
        path.unlink()
        journal = JournalWriter.create(path, redact)
        journal.append([started(), *records])
        finish(journal, started(), time=5, metrics=summaries)
    run = Run(tmp_path / "r1")
    assert run.metrics() == ["a"]
    assert run.series("a").values.tolist() == [1.0, 2.0]
    assert run.chart("a").values.tolist() == [1.0, 2.0]
    assert len([problem for problem in run.problems if "left out" in problem or "damaged" in problem]) == 1


WRONG = [b"", b"\xc0", b"\x80", b"\x81\xa4time\xa1x", b"\x91" * 2000, msgspec.msgpack.encode({"chunks": 3})]


@pytest.mark.parametrize("payload", WRONG)
@pytest.mark.parametrize("kind", [1, 2, 3, 8, 10, 11])
def test_a_journal_with_wrong_types_is_read_around_them(tmp_path: Path, kind: int, payload: bytes) -> None:
    """A sound frame whose payload is no record of its kind is said and passed over."""
    path = write(tmp_path / "r1", started(), points("a", [1.0]))
    with open(path, "ab") as file:
        file.write(encode_frame(kind, 2, payload))
        file.write(encode_frame(2, 3, msgspec.msgpack.encode(points("a", [2.0], step=1))))
    run = Run(tmp_path / "r1")
    assert run.series("a").values.tolist() == [1.0, 2.0]
    run.events()
    run.spans()
    assert run.problems
    assert all("rank-0.0.tlj" in problem for problem in run.problems)


def test_a_deleted_journal_does_not_break_a_reader(tmp_path: Path) -> None:
    """A run that is deleted while somebody looks at it is reported, not raised."""
    path = write(tmp_path / "r1", started(), points("a", [1.0]))
    run = Run(tmp_path / "r1")
    path.unlink()
    run.refresh()
    assert run.metrics() == ["a"]


FLOATS = st.one_of(st.floats(), st.sampled_from([float("nan"), float("inf"), -0.0, 0.0]))
FLUSHES = st.lists(st.lists(st.tuples(st.sampled_from("abc"), FLOATS), max_size=6), max_size=8)


def told(run: Run) -> object:
    """Everything that a reader may ask of these runs, NaN equal to NaN."""
    series = {name: run.series(name) for name in run.metrics()}
    return repr(
        (
            run.info, run.params, run.summaries(), run.problems, run.events(),
            {name: (one.steps.tolist(), one.values.tolist(), one.times.tolist()) for name, one in series.items()},
        )
    )  # fmt: skip


@given(FLUSHES, st.sets(st.integers(0, 9)), st.booleans())
def test_reading_on_equals_reading_afresh(
    tmp_path_factory: pytest.TempPathFactory, flushes: list[list[tuple[str, float]]], looks: set[int], seal: bool
) -> None:
    """A run that is refreshed at any moments while it is written says what a fresh reader says, sealed or not."""
    folder = tmp_path_factory.mktemp("runs") / "r1"
    folder.mkdir()
    packer = Packer()
    journal = JournalWriter.create(journal_path(folder, "rank-0", 0), redact)
    journal.append([started(pid=1, process_started=-1.0)])
    reader = Run(folder)
    for number, flush in enumerate(flushes):
        items = [(name, None, value, float(number)) for name, value in flush]
        params = Params(time=number, values={"n": number})
        journal.append([*packer.pack(items), Event(time=number, name="flush"), params])
        if number in looks:
            reader.refresh()
            assert told(reader) == told(Run(folder))
    last = Status(time=99, status="finished")
    journal.append([last])
    if seal:
        metrics = list(packer.summaries.all().values())
        known = {"n": len(flushes) - 1} if flushes else {}
        journal.seal(footer(journal, started(pid=1, process_started=-1.0), last, metrics=metrics, params=known))
    journal.close()
    reader.refresh()
    assert told(reader) == told(Run(folder))
