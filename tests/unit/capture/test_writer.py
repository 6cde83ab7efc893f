"""From the buffer to the file: bounded, in order, and through disks that refuse, vanish or hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import msgspec
import pytest

from tracelet import guard
from tracelet.capture import write_queue, writer
from tracelet.capture.console import StreamRecorder
from tracelet.capture.null_buffers import NullWriter
from tracelet.capture.sink import Item, SeriesKey
from tracelet.capture.writer import Writer
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Event, Facts, Params, Started, Status, Tags
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact
from tracelet.store.run import Run

FINISHED = Status(time=1, status="finished")


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user is told."""
    said: list[str] = []
    monkeypatch.setattr(guard.logger, "warning", lambda text, *values: said.append(text % values))
    return said


def make(folder: Path, flush_interval: float = 0.05) -> Writer:
    """A started writer of a run in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    journal = JournalWriter.create(journal_path(folder, "rank-0", 0), redact)
    made = Writer(journal, Started(run=folder.name, name="n", project="p", time=1, host="h", pid=1), flush_interval)
    made.start()
    return made


@pytest.fixture
def open_writer(tmp_path: Path) -> Iterator[Writer]:
    """A started writer, closed at the end."""
    made = make(tmp_path / "r1")
    yield made
    made.close(FINISHED)


def values(folder: Path, name: str = "m") -> list[float]:
    """What a fresh reader finds."""
    found: list[float] = Run(folder).series(name).values.tolist()
    return found


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that another thread brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_what_is_emitted_is_on_disk_without_a_call(open_writer: Writer) -> None:
    """Points and records reach the file by themselves within the flush interval."""
    open_writer.emit(("m", 0, 1.5, 1.0))
    open_writer.emit(Params(time=1, values={"lr": 0.1}))
    until(lambda: Run(open_writer.path.parent).params == {"lr": 0.1})
    assert values(open_writer.path.parent) == [1.5]


def test_flush_returns_when_everything_is_on_disk(tmp_path: Path) -> None:
    """After flush() a reader finds everything emitted before, also when the writer would wake much later."""
    slow = make(tmp_path / "r1", flush_interval=1000.0)
    for step in range(1000):
        slow.emit(("m", step, float(step), 1.0))
    assert slow.flush()
    assert values(tmp_path / "r1") == list(range(1000))
    assert slow.close(FINISHED)


def test_closing_writes_the_rest_and_seals(tmp_path: Path) -> None:
    """The end of a run is on disk when close() returns: last points, status, index."""
    made = make(tmp_path / "r1", flush_interval=1000.0)
    made.emit(("m", 7, 1.0, 1.0))
    made.emit(Tags(time=1, values={"a": "b"}))
    assert made.close(FINISHED)
    assert made.close(FINISHED)
    run = Run(tmp_path / "r1")
    assert (run.info.status, run.tags, values(tmp_path / "r1")) == ("finished", {"a": "b"}, [1.0])
    assert run.views[0].sealed
    assert not made.recording


def test_logging_after_the_end_is_said_once(tmp_path: Path, messages: list[str]) -> None:
    """Points of a program that goes on logging are not recorded, and it is told so once; our own parts are silent."""
    made = make(tmp_path / "r1")
    made.close(FINISHED)
    made.emit((SeriesKey("lr"), 0, 1.0, 1.0, -1, None))
    made.emit(Params(time=1, values={}))
    assert messages == []
    for _ in range(3):
        made.emit(("m", 0, 1.0, 1.0))
    assert len(messages) == 1
    assert "'m' was logged after its run ended" in messages[0]
    assert len(made.items) == 0


@pytest.mark.slow
def test_threads_lose_no_point(tmp_path: Path) -> None:
    """Eight threads that log 50,000 points each, as fast as they can, find all of them on disk, each in its order."""
    made = make(tmp_path / "r1")

    def log(name: str) -> None:
        for step in range(50_000):
            made.emit((name, step, float(step), 1.0))

    threads = [threading.Thread(target=log, args=(f"m{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.close(FINISHED)
    run = Run(tmp_path / "r1")
    for number in range(8):
        assert run.series(f"m{number}").steps.tolist() == list(range(50_000))
    assert made.queue.dropped == 0


def test_a_burst_keeps_memory_bounded_and_loses_nothing(tmp_path: Path) -> None:
    """A thread that logs faster than the disk is slowed down, not dropped: the buffer stays near its limit."""
    made = make(tmp_path / "r1")
    most = 0
    for step in range(400_000):
        made.emit(("m", step, 0.5, 1.0))
        most = max(most, len(made.items))
    assert made.close(FINISHED)
    assert most <= writer.MAX_BUFFERED + writer.WAKE_MASK + 1
    assert Run(tmp_path / "r1").summaries()["m"].count == 400_000


def test_a_signal_handler_may_log_at_any_moment(tmp_path: Path) -> None:
    """A handler that logs and flushes while the main thread does so neither hangs nor loses nor doubles a point."""
    made = make(tmp_path / "r1")
    handled = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal handled
        made.emit(("handled", handled, float(handled), 1.0))
        handled += 1
        made.flush(timeout=0.01)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for step in range(30_000):
            made.emit(("m", step, 1.0, 1.0))
            if step % 1000 == 0:
                made.flush()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert made.close(FINISHED)
    run = Run(tmp_path / "r1")
    assert run.series("m").steps.tolist() == list(range(30_000))
    assert run.series("handled").steps.tolist() == list(range(handled))
    assert handled > 0
    assert run.problems == []


def test_a_deleted_folder_is_written_again_complete(tmp_path: Path, messages: list[str]) -> None:
    """The run's folder moved away while it is written: the journal is there again, whole, and the user is told."""
    folder = tmp_path / "store" / "runs" / "r1"
    made = make(folder)
    made.emit(("m", 0, 0.0, 1.0))
    made.flush()
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    made.emit(("m", 1, 1.0, 1.0))
    made.flush()
    assert values(folder) == [0.0, 1.0]
    assert (tmp_path / "store" / ".gitignore").read_text() == "*\n"
    made.emit(("m", 2, 2.0, 1.0))
    assert made.close(FINISHED)
    run = Run(folder)
    assert (run.info.status, values(folder)) == ("finished", [0.0, 1.0, 2.0])
    assert run.problems == []
    assert not (tmp_path / ".gitignore").exists()
    assert [text for text in messages if "complete journal was written there again" in text]


def test_a_folder_that_cannot_come_back_is_waited_for(
    tmp_path: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a file stands where the folder was, points are kept; when it is gone everything is written."""
    monkeypatch.setattr(writer, "RETRY_PAUSE", 0.02)
    made = make(tmp_path / "store" / "r1")
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    (tmp_path / "store").write_text("in the way")
    for step in range(50):
        made.emit(("m", step, float(step), 1.0))
        made.flush()
    assert len([text for text in messages if "cannot write" in text]) == 1
    assert "Free some space" in messages[0]
    (tmp_path / "store").unlink()
    until((tmp_path / "store").is_dir)
    assert made.close(FINISHED)
    assert values(tmp_path / "store" / "r1") == list(range(50))
    assert [problem for problem in Run(tmp_path / "store" / "r1").problems if "nothing was lost" in problem]


def test_more_than_memory_may_hold_is_given_up_counted_and_reported(
    tmp_path: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest points go first, params stay, and their number stands in the journal as soon as it can be written."""
    monkeypatch.setattr(writer, "RETRY_PAUSE", 0.02)
    monkeypatch.setattr(write_queue, "MAX_POINTS", 100)
    made = make(tmp_path / "store" / "r1")
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    (tmp_path / "store").write_text("in the way")
    made.emit(Params(time=1, values={"kept": True}))
    for step in range(500):
        made.emit(("m", step, float(step), 1.0))
        if step % 10 == 9:
            made.flush()
    assert made.queue.dropped == 400
    (tmp_path / "store").unlink()
    assert made.close(FINISHED)
    run = Run(tmp_path / "store" / "r1")
    assert values(tmp_path / "store" / "r1") == list(range(400, 500))
    assert run.params == {"kept": True}
    assert [problem for problem in run.problems if "400 points or records were dropped" in problem]
    assert [text for text in messages if "400 points" in text]


def test_a_disk_that_refuses_to_the_end_is_said(tmp_path: Path, messages: list[str]) -> None:
    """When the run ends and nothing can be written, closing returns False in time and says how much is lost."""
    made = make(tmp_path / "store" / "r1", flush_interval=1000.0)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    (tmp_path / "store").write_text("in the way")
    for step in range(30):
        made.emit(("m", step, 1.0, 1.0))
    assert not made.close(FINISHED, timeout=30)
    assert [text for text in messages if "30 points or records are lost" in text]


@pytest.mark.allow_guarded
def test_what_cannot_be_stored_costs_only_itself(tmp_path: Path, messages: list[str]) -> None:
    """Foreign objects are described, broken texts mended, impossible points left out; all else is there."""
    made = make(tmp_path / "r1", flush_interval=1000.0)
    items: list[Item] = [
        ("m", 0, 0.0, 1.0), ("m", 2**80, 1.0, 1.0), ("m", 2, "no number", 1.0), ("m", 3, 3.0, 1.0),
        ("m", "no step", 1.0, 1.0), ("m", 4, 4.0, float("nan")), ("m", 5, 5.0, 1.0),  # type: ignore[list-item]
        ("broken\ud800name", 0, 1.0, 1.0), ("x" * 5000, 0, 1.0, 1.0),
        Facts(time=1, topic="t", values={"o": object(), "big": 2**99, "text": "\udcff", "deep": [{"a": {1, 2}}]}),
        Event(time=1, name="e\ud800", attributes={"self": made}), Params(time=1, values={"p": 1}),
    ]  # fmt: skip
    for item in items:
        made.emit(item)
    assert made.close(Status(time=1, status="failed", traceback="bad \udc80 text"))
    run = Run(tmp_path / "r1")
    assert values(tmp_path / "r1") == [0.0, 3.0, 5.0]
    assert set(run.metrics()) == {"m", "broken\\ud800name", "x" * 1000}
    assert run.facts("t") == {"o": "builtins.object", "big": hex(2**99), "text": "\\udcff", "deep": [{"a": [1, 2]}]}
    assert [event.name for event in run.events()] == ["e\\ud800"]
    assert run.params == {"p": 1}
    assert run.status_record.traceback == "bad \\udc80 text"
    (problem,) = run.problems
    assert "points of 'm' were not recorded" in problem


def test_a_mute_writer_keeps_nothing() -> None:
    """The writer of a handle that records nothing takes everything and holds no memory."""
    null = NullWriter()
    for step in range(100):
        null.emit(("m", step, 1.0, 1.0))
        null.items.append(("m", step, 1.0, 1.0))
    null.apply_backpressure()
    assert null.flush()
    assert len(null.items) == 0
    assert not null.recording


class HangingJournal(JournalWriter):
    """A journal on a disk that does not answer until it is told to."""

    gate: threading.Event

    def append(self, records: object) -> None:
        self.gate.wait()
        super().append(records)  # type: ignore[arg-type]


def test_a_disk_that_hangs_does_not_hold_the_training(
    tmp_path: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a write hangs, an emitting thread waits once and no more; memory is bounded, the loss reported, and what
    was printed meanwhile is not lost with it.
    """
    monkeypatch.setattr(writer, "MAX_EMIT_WAIT", 0.05)
    monkeypatch.setattr(writer, "WAKE_AT", 100)
    monkeypatch.setattr(writer, "MAX_BUFFERED", 1000)
    made = make(tmp_path / "r1", flush_interval=1000.0)
    hanging = HangingJournal(made.path, redact, made.journal.descriptor, made.journal.size, made.journal.number)
    hanging.gate = threading.Event()
    made.queue.journal = hanging
    most = 0
    recorder = StreamRecorder("stdout", made)
    for step in range(20_000):
        if step == 10_000:
            recorder.write("printed\n")
        made.emit(("m", step, 1.0, 1.0))
        most = max(most, len(made.items))
    assert most <= 2 * 1000 + writer.WAKE_MASK + 1
    assert recorder in made.items  # it asks to be visited only once
    assert not made.close(FINISHED, timeout=0.1)
    assert [text for text in messages if "still being written" in text]
    hanging.gate.set()
    assert made.close(FINISHED, timeout=30)
    run = Run(tmp_path / "r1")
    count = run.summaries()["m"].count
    assert [problem for problem in run.problems if f"{20_000 - count:,} points or records were dropped" in problem]
    assert [line.text for line in run.console()] == ["printed"]


FULL = """
    import os, sys, time
    import tracelet
    from tracelet.capture import writer
    writer.TROUBLED_PAUSE = 0.05
    {limit}
    run = tracelet.start_logging("full", config=dict(
        flush_interval=0.02, track_system=False, track_git=False, track_env=False, track_lightning=False,
        delivery="off"))
    step = 0
    deadline = time.monotonic() + 60
    while not run._writer.queue.failing and time.monotonic() < deadline:
        run.log_metric("m", step * 0.1, step)
        step += 1
        if step % 1000 == 0:
            run.flush()
    assert run._writer.queue.failing
    for _ in range(5000):
        run.log_metric("m", step * 0.1, step)
        step += 1
    run.log_params({{"after": "trouble"}})
    run.flush()
    {free}
    run.log_metric("end", 1.0)
    tracelet.stop_logging()
    print(step)
"""
RLIMIT = (
    "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))"
)


def run_full(limit: str, free: str, store: Path) -> tuple[int, str]:
    """How many points the child logged, and what it said."""
    code = textwrap.dedent(FULL).format(limit=limit.replace("\n    ", "\n"), free=free.replace("\n    ", "\n"))
    environment = {**os.environ, "TRACELET_DIR": str(store)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot write") == 1, done.stderr
    return int(done.stdout), done.stderr


def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    """When writes fail the program goes on and is told once; when they work again every point is there."""
    free = "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))"
    count, said = run_full(RLIMIT, free, tmp_path / "store")
    (folder,) = (tmp_path / "store" / "runs").iterdir()
    run = Run(folder)
    assert run.series("m").steps.tolist() == list(range(count))
    assert (run.params["after"], run.info.status) == ("trouble", "finished")
    assert "nothing was lost" in said
    assert [problem for problem in run.problems if "nothing was lost" in problem]
    assert not [problem for problem in run.problems if "byte" in problem]


def test_a_disk_that_stays_full_leaves_a_readable_run(tmp_path: Path) -> None:
    """Without space to the end, what was written before is read without complaint and the loss is said."""
    count, said = run_full(RLIMIT, "", tmp_path / "store")
    (folder,) = (tmp_path / "store" / "runs").iterdir()
    run = Run(folder)
    steps = run.series("m").steps.tolist()
    assert steps == list(range(len(steps)))
    assert 0 < len(steps) < count
    lost = count - len(steps) + 1  # and the one called "end"
    assert f"{lost:,} points or records are lost" in said
    assert [problem for problem in run.problems if f"{lost:,} points or records are lost" in problem]
    assert run.info.status == "finished"  # two small records fit where a batch did not


@pytest.mark.slow
def test_a_real_full_disk_is_survived(tmp_path: Path) -> None:
    """The same on a file system of one megabyte that another file has filled, and that is freed again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        filler = disk / "filler"
        filler.write_bytes(bytes(700_000))
        count, _ = run_full("", f"os.remove({str(filler)!r})\n    time.sleep(0.5)", disk / "store")
        (folder,) = (disk / "store" / "runs").iterdir()
        run = Run(folder)
        assert run.series("m").steps.tolist() == list(range(count))
        assert run.info.status == "finished"
        assert [problem for problem in run.problems if "nothing was lost" in problem]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("lonely", "status", "hours", "compacted"),
    [
        (True, "finished", 1, True),
        (True, "finished", 0, False),
        (True, "preempted", 1, False),
        (False, "finished", 1, False),
    ],
)
def test_a_large_journal_is_compacted_where_no_agent_will(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lonely: bool, status: str, hours: int, compacted: bool
) -> None:
    """A run without an agent earns it by its length; a short one, and one that a cluster stops, ends at once."""
    monkeypatch.setattr(writer, "COMPACT_BYTES", 2_000)
    made = make(tmp_path / "r1")
    made.started = msgspec.structs.replace(made.started, time=writer.now() - hours * 3_600_000_000)
    made.without_agent = lonely
    for step in range(60):
        made.emit(("m", step, 0.5, 1.0))
        made.flush()
    sealed = made.path.stat().st_size
    assert made.close(Status(time=writer.now(), status=status))
    assert (made.path.stat().st_size < sealed) is compacted
    assert values(tmp_path / "r1") == [0.5] * 60
