"""The recorder: bytes before records, failures that cost one value, a disk that refuses, secrets."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracelet
from tests.sinks import ListSink
from tracelet.errors import InvalidMedia
from tracelet.journal.records import Media, Notice
from tracelet.media.content_folder import ContentFolder
from tracelet.media.media_value import Encoded, MediaValue, Snapshot
from tracelet.media.recorder import MediaRecorder

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)


class Slow(MediaValue):
    """A value whose encoding waits for the test, or fails."""

    kind = "text"

    def __init__(self, gate: threading.Event | None = None, error: Exception | None = None, nbytes: int = 1) -> None:
        super().__init__()
        self.gate, self.error, self.nbytes = gate, error, nbytes

    def snapshot(self, folder: ContentFolder) -> Snapshot:
        """Itself."""
        return self

    def encode(self) -> Encoded:
        """Wait, or fail."""
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return Encoded("text", "plain", b"x")


@pytest.fixture
def sink() -> ListSink:
    """Takes the records."""
    return ListSink()


@pytest.fixture
def recorder(sink: ListSink, tmp_path: Path) -> Iterator[MediaRecorder]:
    """A recorder with one megabyte."""
    made = MediaRecorder(tmp_path / "run", sink, 1, {"resumed": 7})
    yield made
    made.close(5)


def media(sink: ListSink) -> list[Media]:
    """The records of media."""
    return [item for item in list(sink) if isinstance(item, Media)]


def notices(sink: ListSink) -> list[Notice]:
    """The notices."""
    return [item for item in list(sink) if isinstance(item, Notice)]


def test_the_bytes_are_there_when_the_record_is(recorder: MediaRecorder, sink: ListSink) -> None:
    """A record is emitted after its file has its final name; equal contents share one file."""
    seen: list[bool] = []

    def emit(item: Any) -> None:
        seen.append(recorder.folder.path(item.digest).is_file())
        ListSink.emit(sink, item)

    sink.emit = emit  # type: ignore[method-assign]
    for step in range(3):
        recorder.take("same", [tracelet.Image(PIXELS)], step)
    assert recorder.flush(5)
    assert seen == [True] * 3
    assert len({record.digest for record in media(sink)}) == 1
    assert [path.name for path in recorder.folder.folder.rglob("*") if path.is_file()] == [media(sink)[0].digest]
    assert recorder.folder.read(media(sink)[0].digest)[:4] == b"\x89PNG"


def test_small_texts_are_in_the_record_itself(recorder: MediaRecorder, sink: ListSink) -> None:
    """A histogram and a sentence make no file; a long text does."""
    recorder.take("hist", [tracelet.Histogram(PIXELS)], 1)
    recorder.take("text", [tracelet.Text("hello"), tracelet.Text("x" * 5000)], 1)
    assert recorder.flush(5)
    assert [bool(record.content) for record in media(sink)] == [True, True, False]
    assert [(record.index, record.count) for record in media(sink)] == [(0, 1), (0, 2), (1, 2)]


def test_values_without_a_step_are_counted_by_name(recorder: MediaRecorder, sink: ListSink) -> None:
    """The first is 0, or continues a resumed run; the next one follows the last, as for metrics."""
    for name, step in (("new", None), ("resumed", None), ("new", 5), ("new", None), ("resumed", None)):
        recorder.take(name, [tracelet.Text("x")], step)
    assert recorder.flush(5)
    assert [(record.name, record.step) for record in media(sink)] == [
        ("new", 0), ("resumed", 7), ("new", 5), ("new", 6), ("resumed", 8),
    ]  # fmt: skip


def test_a_value_that_cannot_be_encoded_costs_itself(recorder: MediaRecorder, sink: ListSink) -> None:
    """It is reported once, in the journal too, and the values after it are recorded."""
    for step in range(3):
        recorder.take("bad", [Slow(error=InvalidMedia("too odd"))], step)
    recorder.take("good", [tracelet.Text("x")], 0)
    assert recorder.flush(5)
    assert [record.name for record in media(sink)] == ["good"]
    assert [notice.message for notice in notices(sink)] == ["'bad': not recorded: too odd"]


@pytest.mark.allow_guarded
def test_a_failure_of_ours_costs_one_value(recorder: MediaRecorder, sink: ListSink) -> None:
    """An unexpected error in an encoder is kept from the program, and the thread lives on."""
    recorder.take("bad", [Slow(error=ZeroDivisionError("a bug"))], 0)
    recorder.take("good", [tracelet.Text("x")], 0)
    assert recorder.flush(5)
    assert [record.name for record in media(sink)] == ["good"]


def test_more_than_the_memory_holds_is_thinned_and_reported(recorder: MediaRecorder, sink: ListSink) -> None:
    """While one value is encoded, others wait within the limit; the notice says how many were dropped of which."""
    gate = threading.Event()
    recorder.take("first", [Slow(gate)], 0)
    for step in range(20):
        recorder.take("many", [Slow(nbytes=100_000)], step)
    gate.set()
    assert recorder.flush(5)
    recorder.close(5)
    kept = [record.step for record in media(sink) if record.name == "many"]
    (notice,) = notices(sink)
    assert len(kept) <= 10
    assert kept[-1] == 19
    assert notice.count == 20 - len(kept)
    assert f"{notice.count} values of the media 'many' were not recorded" in notice.message


def test_a_disk_that_refuses_is_tried_again(
    recorder: MediaRecorder, sink: ListSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost while it refuses, a flush does not wait for it, and one message says so."""
    full, put = threading.Event(), ContentFolder.put
    full.set()

    def refusing(self: ContentFolder, *args: Any) -> str:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return put(self, *args)

    monkeypatch.setattr(ContentFolder, "put", refusing)
    monkeypatch.setattr("tracelet.media.recorder.RETRY_PAUSE", 0.01)
    for step in range(3):
        recorder.take("image", [tracelet.Image(PIXELS)], step)
    assert recorder.flush(5) is False
    assert media(sink) == []
    full.clear()
    assert recorder.flush(5)
    assert [record.step for record in media(sink)] == [0, 1, 2]
    assert sum("No space left" in message for message in caplog.messages) == 1


def test_the_end_of_the_run_waits_no_longer_than_its_timeout(recorder: MediaRecorder, sink: ListSink) -> None:
    """What is not written by then is dropped and counted."""
    gate = threading.Event()
    recorder.take("slow", [Slow(gate), Slow(), Slow()], 0)
    recorder.close(0.05)
    gate.set()
    assert [notice.count for notice in notices(sink)] == [2]


def test_known_secrets_do_not_reach_the_disk(
    recorder: MediaRecorder, sink: ListSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts, captions, names and cells of tables are masked; the table can still be read."""
    secret = "c0ffee1234567890deadbeef"
    monkeypatch.setenv("MY_API_KEY", secret)
    recorder.take("note", [tracelet.Text(f"the key is {secret}", caption=f"password={secret}")], 0)
    recorder.take(f"https://user:{secret}@host", [tracelet.Table({"cell": [f"key {secret}"] * 200})], 0)
    assert recorder.flush(5)
    note, table = media(sink)
    assert secret not in note.content.decode() + note.caption + table.name
    body = recorder.folder.read(table.digest)
    assert secret.encode() not in body
    from tracelet.media.arrow_file import decode

    assert decode(body)["cell"][0].as_py() == "key " + "*" * len(secret)
