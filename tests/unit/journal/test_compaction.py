"""Compaction: the same points in the same order from every cursor, in a smaller file, whenever it is interrupted."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.journals import footer
from tracelet.capture.span_packing import pack_spans
from tracelet.journal import compaction
from tracelet.journal.column_packing import pack_floats, pack_integers, unpack_floats, unpack_integers
from tracelet.journal.frames import Cursor, encode_frame
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.journal_view import JournalView
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import FINISHED, Chunk, Footer, Params, Points, Record, Spans, Started, Status
from tracelet.redaction.known_secrets import redact

STARTED = Started(run="r", name="r", project="p", time=1, host="h", pid=1)
STATUS = Status(time=9, status=FINISHED)
Bits = tuple[str, str, int, str, int, int, bytes, "int | None", "bytes | None"]
"""A point with all that belongs to it, floats as their bytes."""

floats = st.floats(width=64) | st.floats(width=32) | st.sampled_from([0.0, -0.0, float("nan"), float("inf")])
steps = st.integers(-(2**40), 2**40) | st.integers(0, 50)


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    """A chunk of one to four points with any combination of what a chunk may have."""
    count = draw(st.integers(1, 4))

    def column(elements: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(elements, min_size=count, max_size=count))

    return Chunk(
        name=draw(st.sampled_from("ab")), count=count, stage=draw(st.sampled_from(["", "train"])),
        fit=draw(st.integers(0, 1)), reduce=draw(st.sampled_from(["", "sum"])), automatic=draw(st.booleans()),
        steps=pack_integers([int(step) for step in column(steps)]),
        times=pack_integers([int(time) for time in column(st.integers(0, 2**50))]), values=pack_floats(column(floats)),
        epochs=pack_integers([0] * count) if draw(st.booleans()) else None,
        weights=pack_floats([float(weight) for weight in column(floats)]) if draw(st.booleans()) else None,
    )  # fmt: skip


records = st.lists(
    st.builds(Points, chunks=st.lists(chunks(), min_size=1, max_size=3))
    | st.builds(Params, time=st.just(1), values=st.dictionaries(st.sampled_from("xy"), st.integers(0, 5))),
    max_size=12,
)


def journal(path: Path, written: list[Record], sealed: bool = True) -> Path:
    """A journal with one frame for each record."""
    made = JournalWriter.create(path, redact)
    for record in (STARTED, *written, STATUS):
        made.append([record])
    if sealed:
        made.seal(footer(made, STARTED, STATUS))
    made.close()
    return path


def read(path: Path, cursor: Cursor | None = None) -> tuple[dict[str, list[Bits]], list[Record]]:
    """The points of every series in order, and the other records in order, after a cursor."""
    series: dict[str, list[Bits]] = {}
    others: list[Record] = []
    number = -1
    for frame in JournalReader(path).frames(cursor):
        assert frame.number > number, "frames are numbered upwards"
        number = frame.number
        record = frame.record()
        if isinstance(record, Points):
            for chunk in record.chunks:
                series.setdefault(chunk.name, []).extend(bits(chunk))
        elif not isinstance(record, Footer):
            others.append(record)
    return series, others


def bits(chunk: Chunk) -> list[Bits]:
    count = chunk.count
    columns = zip(
        unpack_integers(chunk.steps, count).tolist(), unpack_integers(chunk.times, count).tolist(),
        unpack_floats(chunk.values, count),
        [None] * count if chunk.epochs is None else unpack_integers(chunk.epochs, count).tolist(),
        [None] * count if chunk.weights is None else unpack_floats(chunk.weights, count),
    )  # fmt: skip
    about = chunk.stage, chunk.reduce, chunk.fit, str(chunk.automatic)
    return [
        (*about, step, time, struct.pack("<d", value), epoch, None if weight is None else struct.pack("<d", weight))
        for step, time, value, epoch, weight in columns
    ]


@given(written=records, longest=st.integers(1, 20))
def test_every_cursor_finds_the_same_after_compaction(written: list[Record], longest: int) -> None:
    """Whatever a journal holds and however long merged chunks get, each cursor finds the same points and records."""
    folder = Path(tempfile.mkdtemp())
    before = compaction.CHUNK_POINTS
    compaction.CHUNK_POINTS = longest
    try:
        path = journal(folder / "rank-0.0.tlj", written)
        cursors = [Cursor(), *(frame.after for frame in JournalReader(path).frames())]
        expected = [read(path, cursor) for cursor in cursors]
        assert compaction.compact(path)
        assert [read(path, cursor) for cursor in cursors] == expected
    finally:
        compaction.CHUNK_POINTS = before
        shutil.rmtree(folder)


def slow_run(count: int) -> list[Record]:
    """What a run that logs one point a second writes: one chunk of one point a flush."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(count).tolist()
    late = rng.integers(0, 5000, count).tolist()
    points: list[Record] = []
    for step, value in enumerate(values):
        time = 1_700_000_000_000_000 + step * 1_000_000 + late[step]
        chunk = Chunk("loss", 1, pack_integers([step]), pack_integers([time]), pack_floats([value]))
        points.append(Points(chunks=[chunk]))
    return points


def test_a_slow_run_takes_at_most_12_bytes_a_point(tmp_path: Path) -> None:
    """Points that were flushed one by one, random doubles among them, take at most 12 bytes each afterwards."""
    path = journal(tmp_path / "rank-0.0.tlj", slow_run(5000))
    before = path.stat().st_size
    assert compaction.compact(path)
    assert path.stat().st_size / 5000 <= 12 < before / 5000


def test_the_footer_says_it_and_the_second_time_nothing_happens(tmp_path: Path) -> None:
    """A compacted journal is still sealed, keeps its summary and number of frames, and is not compacted again."""
    path = journal(tmp_path / "rank-0.0.tlj", slow_run(50))
    before = JournalReader(path).footer()
    assert compaction.compact(path)
    after = JournalReader(path).footer()
    assert before is not None and after is not None
    assert after.compacted
    assert (after.frames, after.started, after.status) == (before.frames, before.started, before.status)
    assert JournalView(path).sealed
    content = path.read_bytes()
    assert not compaction.compact(path)
    assert path.read_bytes() == content


def test_the_offsets_in_the_footer_are_those_of_the_new_file(tmp_path: Path) -> None:
    """Every place that the footer names holds the frame of the kind and number that it says."""
    path = journal(tmp_path / "rank-0.0.tlj", [*slow_run(20), Params(time=1, values={"lr": 0.1}), *slow_run(3)])
    assert compaction.compact(path)
    index = JournalReader(path).footer()
    assert index is not None
    found = [(frame.kind, frame.number, frame.offset) for frame in JournalReader(path).frames()]
    assert len(index.others) == 3
    assert set(index.others) <= set(found)


def test_spans_keep_their_place_and_get_smaller(tmp_path: Path) -> None:
    """Packed spans are the same spans in fewer bytes."""
    packed = pack_spans([("forward", n + 1, 0, n * 1_000_003, 500_000 + n % 7, 1, None) for n in range(3000)])
    path = journal(tmp_path / "rank-0.0.tlj", [packed])
    before = path.stat().st_size
    assert compaction.compact(path)
    assert path.stat().st_size < before / 1.5
    (after,) = [record for frame in JournalReader(path).frames() if isinstance(record := frame.record(), Spans)]
    for column in ("name_indexes", "ids", "parents", "starts", "durations", "threads"):
        assert np.array_equal(
            unpack_integers(getattr(after, column), 3000), unpack_integers(getattr(packed, column), 3000)
        )


def test_what_is_not_sealed_or_damaged_is_left_alone(tmp_path: Path) -> None:
    """A journal that is still written to, and one with a damaged frame, stay byte for byte what they were."""
    running = journal(tmp_path / "running.tlj", slow_run(20), sealed=False)
    damaged = journal(tmp_path / "damaged.tlj", slow_run(20))
    content = bytearray(damaged.read_bytes())
    content[700] ^= 0xFF
    damaged.write_bytes(content)
    for path in (running, damaged):
        before = path.read_bytes()
        assert not compaction.compact(path)
        assert path.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"running.tlj", "damaged.tlj"}


def test_frames_that_this_version_does_not_know_are_kept(tmp_path: Path) -> None:
    """A frame of a later version's kind, and one with points that cannot be unpacked, are copied as they are."""
    path = tmp_path / "rank-0.0.tlj"
    made = JournalWriter.create(path, redact)
    made.append([STARTED, *slow_run(3)])
    strange = Points(chunks=[Chunk("odd", 3, ("H", 0, b"1"), ("=", 0, 1), ("*", 1.0, b""))])
    kept = [(200, made.number, b"later"), (2, made.number + 1, msgspec.msgpack.encode(strange))]
    for kind, number, payload in kept:
        made.append_frame(kind, number, payload)
    made.append(slow_run(3))
    made.seal(footer(made, STARTED, STATUS))
    made.close()
    assert compaction.compact(path)
    content = path.read_bytes()
    places = [content.find(encode_frame(*frame)) for frame in kept]
    assert 0 < places[0] < places[1]


def test_a_reader_that_has_the_file_open_reads_on(tmp_path: Path) -> None:
    """Frames are read to the end from the old file while the new one takes its name."""
    path = journal(tmp_path / "rank-0.0.tlj", slow_run(40))
    expected = read(path)[0]["loss"]
    reading = JournalReader(path).frames()
    first = [next(reading) for _ in range(5)]
    assert compaction.compact(path)
    found = [record for frame in (*first, *reading) if isinstance(record := frame.record(), Points)]
    assert [point for record in found for chunk in record.chunks for point in bits(chunk)] == expected


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new file cannot be finished, OSError says so, the journal is untouched and nothing is left over."""
    path = journal(tmp_path / "rank-0.0.tlj", slow_run(40))
    before = path.read_bytes()

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        compaction.compact(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_compaction_left_is_removed(tmp_path: Path) -> None:
    """An unfinished file is removed once it is old; a young one may be another process at work."""
    path = journal(tmp_path / "rank-0.0.tlj", slow_run(5))
    old, young = (tmp_path / f"{path.name}.{pid}.compacting" for pid in (11, 12))
    for left in (old, young):
        left.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert compaction.compact(path)
    assert not old.exists()
    assert young.exists()


def test_a_cursor_whose_offset_is_the_new_end_reads_what_is_left(tmp_path: Path) -> None:
    """A cursor into the old file that by chance points at the end of the new one still finds the rest."""
    path = journal(tmp_path / "rank-0.0.tlj", slow_run(30))
    assert compaction.compact(path)
    cursor = Cursor(20, path.stat().st_size)
    assert len(read(path, cursor)[0]["loss"]) == 11
