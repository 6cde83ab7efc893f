"""The file: what was appended is read, whatever happened to the bytes around it."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.journals import footer
from tracelet.errors import JournalError
from tracelet.journal.frames import (
    HEADER,
    MARKER,
    MAX_FRAME_BYTES,
    PREAMBLE,
    SEAL,
    SEAL_BODY,
    SEAL_SIZE,
    VERSION,
    Cursor,
    Frame,
    encode_frame,
    preamble,
)
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Event, Notice, Params, Record, Started, Status, Tags
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact

STARTED = Started(run="r", name="n", project="p", time=1, host="h", pid=2)
FINISHED = Status(time=9, status="finished")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[JournalWriter]:
    """An empty journal."""
    made = JournalWriter.create(journal_path(tmp_path, "rank-0", 0), redact)
    yield made
    made.close()


def records_in(path: Path) -> list[Record]:
    """All records that a reader gets."""
    return [frame.record() for frame in JournalReader(path).frames()]


def event(number: int, size: int = 0) -> Event:
    """One record that can be told from the others."""
    return Event(time=number, name=f"e{number}", attributes={"filler": "x" * size})


TEXTS = st.text(st.characters(codec="utf-8"))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXTS)
RECORDS = st.one_of(
    st.builds(Params, time=st.integers(0, 2**60), values=st.dictionaries(TEXTS, SCALARS, max_size=5)),
    st.builds(Tags, time=st.integers(0, 2**60), values=st.dictionaries(TEXTS, TEXTS, max_size=5)),
    st.builds(Event, time=st.integers(0, 2**60), name=TEXTS, attributes=st.dictionaries(TEXTS, SCALARS, max_size=5)),
    st.builds(Notice, time=st.integers(0, 2**60), code=TEXTS, message=TEXTS, count=st.integers(0, 2**60)),
    st.builds(Status, time=st.integers(0, 2**60), status=TEXTS, reason=TEXTS, traceback=TEXTS),
)


@given(st.lists(st.lists(RECORDS, max_size=5), max_size=5))
def test_records_are_read_as_they_were_appended(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[Record]]
) -> None:
    """Any records, appended in any groups, come back equal and in order, with frame numbers that count up."""
    journal = JournalWriter.create(tmp_path_factory.mktemp("j") / "a.tlj", redact)
    for group in groups:
        journal.append(group)
    journal.close()
    reader = JournalReader(journal.path)
    frames = list(reader.frames())
    assert [frame.record() for frame in frames] == [record for group in groups for record in group]
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert reader.damage == []


@given(st.integers(0, 30), st.booleans())
def test_a_cursor_goes_on_where_it_stopped(
    tmp_path_factory: pytest.TempPathFactory, seen: int, wrong_hint: bool
) -> None:
    """Reading after a cursor gives the frames from its number on, also when its byte offset is a wrong hint."""
    journal = JournalWriter.create(tmp_path_factory.mktemp("j") / "a.tlj", redact)
    journal.append([event(number) for number in range(20)])
    journal.close()
    frames = list(JournalReader(journal.path).frames())
    cursor = frames[seen - 1].after if 0 < seen <= 20 else Cursor(seen, journal.size if seen else PREAMBLE.size)
    if wrong_hint:
        cursor = cursor._replace(offset=cursor.offset + 5)
    assert [frame.number for frame in JournalReader(journal.path).frames(cursor)] == list(range(seen, 20))


def spoil(path: Path, data: bytes) -> JournalReader:
    """A reader of these bytes."""
    path.write_bytes(data)
    return JournalReader(path)


def whole_journal(folder: Path, sizes: list[int]) -> tuple[bytes, list[Frame]]:
    """A journal's bytes and its frames."""
    journal = JournalWriter.create(folder / "whole.tlj", redact)
    journal.append([event(number, size) for number, size in enumerate(sizes)])
    journal.close()
    return journal.path.read_bytes(), list(JournalReader(journal.path).frames())


def intact(frames: list[Frame], begin: int, end: int) -> list[int]:
    """The numbers of the frames that the bytes from `begin` to `end` do not touch."""
    return [frame.number for frame in frames if frame.after.offset <= begin or frame.offset >= end]


SIZES = st.lists(st.one_of(st.integers(0, 50), st.just(3000)), min_size=1, max_size=8)


@given(SIZES, st.data())
def test_flipped_bytes_cost_only_the_frames_they_hit(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    """Damage anywhere is skipped and said; every frame before and behind it is read."""
    folder = tmp_path_factory.mktemp("j")
    whole, frames = whole_journal(folder, sizes)
    begin = data.draw(st.integers(0, len(whole) - 1))
    garbage = data.draw(st.binary(min_size=1, max_size=40))[: len(whole) - begin]
    spoiled = whole[:begin] + garbage + whole[begin + len(garbage) :]
    reader = spoil(folder / "spoiled.tlj", spoiled)
    kept = intact(frames, begin, begin + len(garbage))
    if begin < PREAMBLE.size and not kept:
        return  # nothing of it is left
    read = [frame.number for frame in reader.frames()]
    assert set(read) >= set(kept)
    if spoiled != whole and len(read) < len(frames) and kept and kept[-1] == len(frames) - 1:
        assert reader.damage


@given(SIZES, st.data())
def test_inserted_garbage_costs_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    """Bytes that somebody put between or into frames are skipped, markers and plausible headers among them too."""
    folder = tmp_path_factory.mktemp("j")
    whole, frames = whole_journal(folder, sizes)
    at = data.draw(st.integers(PREAMBLE.size, len(whole)))
    pieces = st.one_of(st.binary(max_size=30), st.just(MARKER), st.just(HEADER.pack(MARKER, 6, 0, 99, 1, 5)))
    garbage = b"".join(data.draw(st.lists(pieces, min_size=1, max_size=6))) + b"."
    reader = spoil(folder / "spoiled.tlj", whole[:at] + garbage + whole[at:])
    assert [frame.number for frame in reader.frames()] == intact(frames, at, at)


@given(SIZES, st.data())
def test_a_torn_tail_is_waited_for(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    """Cut anywhere, a journal gives its whole frames without complaint, and the rest once that is there."""
    folder = tmp_path_factory.mktemp("j")
    whole, frames = whole_journal(folder, sizes)
    cut = data.draw(st.integers(0, len(whole)))
    reader = spoil(folder / "torn.tlj", whole[:cut])
    first = list(reader.frames())
    assert [frame.number for frame in first] == [frame.number for frame in frames if frame.after.offset <= cut]
    assert reader.damage == []
    reader.path.write_bytes(whole)
    rest = list(reader.frames(first[-1].after if first else Cursor()))
    assert [frame.number for frame in first + rest] == [frame.number for frame in frames]


def test_a_tail_that_was_half_written_is_not_called_damaged_later(journal: JournalWriter) -> None:
    """What was no frame at one look, because a network disk showed zeros, is forgotten when it has become one."""
    journal.append([event(0)])
    end = journal.size
    journal.append([event(1)])
    whole = journal.path.read_bytes()
    reader = spoil(journal.path, whole[:end] + bytes(len(whole) - end))
    assert [frame.number for frame in reader.frames()] == [0]
    assert reader.damage == [f"there is no valid frame from byte {end}"]
    journal.path.write_bytes(whole)
    assert [frame.number for frame in reader.frames(Cursor(1, end))] == [1]
    assert reader.damage == []


def test_damage_is_told_once_however_often_it_is_read(journal: JournalWriter) -> None:
    """Reading a damaged file again does not say the same again."""
    journal.append([event(0, 100), event(1)])
    data = bytearray(journal.path.read_bytes())
    data[PREAMBLE.size + 40] ^= 255
    reader = spoil(journal.path, bytes(data))
    for _ in range(3):
        assert [frame.number for frame in reader.frames()] == [1]
    assert len(reader.damage) == 1


@pytest.mark.parametrize("place", range(PREAMBLE.size))
def test_a_damaged_beginning_does_not_cost_the_journal(journal: JournalWriter, place: int) -> None:
    """With any byte of the preamble flipped (magic, version, checksum) the frames are read and the damage is said."""
    journal.append([event(0)])
    data = bytearray(journal.path.read_bytes())
    data[place] ^= 0xFF
    reader = spoil(journal.path, bytes(data))
    assert [frame.number for frame in reader.frames()] == [0]
    assert reader.damage == ["the first 16 bytes are damaged"]


def test_a_newer_version_is_refused_politely(journal: JournalWriter) -> None:
    """A file of a newer tracelet is left alone, and the error says what to type."""
    journal.append([event(0)])
    reader = spoil(journal.path, preamble(VERSION + 1) + journal.path.read_bytes()[PREAMBLE.size :])
    with pytest.raises(JournalError, match=r"newer tracelet.*update tracelet: pip install \."):
        list(reader.frames())
    with pytest.raises(JournalError, match="newer"):
        reader.footer()


@pytest.mark.parametrize("content", [b"x", b"PNG not a journal at all, but long enough", b"\0" * 5000, b"TRACELEX"])
def test_another_file_is_no_journal(tmp_path: Path, content: bytes) -> None:
    """A foreign file is an error that says so, not an empty run."""
    with pytest.raises(JournalError, match="not a tracelet journal"):
        list(spoil(tmp_path / "a.tlj", content).frames())


@pytest.mark.parametrize("length", [0, 1, 7, 8, 12, 15])
def test_a_process_killed_while_it_made_the_file_left_no_record(tmp_path: Path, length: int) -> None:
    """A file that ends within its preamble is an empty journal and no error."""
    reader = spoil(tmp_path / "a.tlj", preamble()[:length])
    assert list(reader.frames()) == []
    assert reader.footer() is None
    assert reader.damage == []


def test_unknown_kinds_are_passed_over(journal: JournalWriter) -> None:
    """A kind that a later version has added does not disturb an older reader."""
    journal.append([event(0)])
    with open(journal.path, "ab") as file:
        file.write(encode_frame(77, 1, b"whatever"))
        file.write(encode_frame(6, 2, msgspec.msgpack.encode(event(2))))
    assert records_in(journal.path) == [event(0), event(2)]


NESTED = b"\x91" * 100_000 + b"\x00"
PAYLOADS = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([NESTED, *(bytes([code]) + b"\xff\xff\xff\xff" for code in (0xDD, 0xDF, 0xC6, 0xDB))]),
    st.recursive(
        st.one_of(SCALARS, st.binary(max_size=20), st.integers(2**63, 2**64 - 1)),
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    ).map(msgspec.msgpack.encode),
    st.dictionaries(
        st.sampled_from(["time", "name", "run", "chunks", "values", "status", "pid", "attributes"]),
        st.one_of(SCALARS, st.lists(SCALARS, max_size=3)),
    ).map(msgspec.msgpack.encode),
)  # fmt: skip


@given(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255]), PAYLOADS)
def test_a_payload_of_wrong_types_is_a_journal_error(kind: int, payload: bytes) -> None:
    """Whatever a sound frame holds, decoding gives a record of its kind or JournalError, in bounded memory."""
    frame = Frame(3, kind, 16, payload)
    try:
        record = frame.record()
    except JournalError as error:
        assert "frame 3" in str(error)
    else:
        assert isinstance(record, Record)


def test_a_sealed_journal_is_known_from_its_footer(journal: JournalWriter) -> None:
    """Sealing appends an index that is found from the end of the file, and tells where every frame stands."""
    assert JournalReader(journal.path).footer() is None
    journal.append([STARTED, event(1), FINISHED])
    expected = footer(journal, STARTED, FINISHED)
    journal.seal(expected)
    assert JournalReader(journal.path).footer() == expected
    data = journal.path.read_bytes()
    for kind, number, offset in expected.others:
        assert HEADER.unpack_from(data, offset)[1] == kind
        assert HEADER.unpack_from(data, offset)[4] == number
    assert zlib.decompress(expected.points) == b""


def test_what_is_appended_behind_a_seal_breaks_it(journal: JournalWriter) -> None:
    """A journal that goes on after a seal counts as unsealed until it is sealed again."""
    journal.seal(footer(journal, STARTED, FINISHED))
    journal.append([event(1)])
    assert JournalReader(journal.path).footer() is None
    journal.seal(footer(journal, STARTED, FINISHED))
    assert JournalReader(journal.path).footer() is not None


@given(st.data())
def test_a_damaged_seal_or_footer_never_raises(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """With any bytes of its end overwritten a sealed journal has a footer or none, and its frames are read."""
    journal = JournalWriter.create(tmp_path_factory.mktemp("j") / "a.tlj", redact)
    journal.append([STARTED, FINISHED])
    begin = journal.size
    journal.seal(footer(journal, STARTED, FINISHED))
    journal.close()
    raw = bytearray(journal.path.read_bytes())
    place = data.draw(st.integers(begin, len(raw) - 1))
    garbage = data.draw(st.binary(min_size=1, max_size=30))[: len(raw) - place]
    raw[place : place + len(garbage)] = garbage
    reader = spoil(journal.path, bytes(raw))
    reader.footer()
    assert [f.record() for f in reader.frames() if f.number < 2] == [STARTED, FINISHED]


@pytest.mark.parametrize("place", [0, 5, 2**40, 2**64 - 1])
def test_a_seal_that_points_nowhere_is_no_seal(journal: JournalWriter, place: int) -> None:
    """A sound seal with an absurd offset does not make the reader fail or read beyond the file."""
    journal.append([event(0)])
    with open(journal.path, "ab") as file:
        file.write(encode_frame(SEAL, 1, SEAL_BODY.pack(place)))
    assert JournalReader(journal.path).footer() is None


def test_two_processes_never_own_one_file(journal: JournalWriter) -> None:
    """Making a journal that exists is an error, so that a second process takes the next attempt."""
    with pytest.raises(FileExistsError):
        JournalWriter.create(journal.path, redact)


def test_a_record_longer_than_readers_take_is_refused(journal: JournalWriter) -> None:
    """What no reader would believe is not written; the journal goes on."""
    with pytest.raises(ValueError, match="exceeds the size limit"):
        journal.append([Event(time=1, name="big", attributes={"x": bytes(MAX_FRAME_BYTES)})])
    journal.append([event(0)])
    assert records_in(journal.path) == [event(0)]


def test_a_deleted_journal_is_rescued_complete(journal: JournalWriter) -> None:
    """Deleted or with its folder moved, the file is written again where it was, and goes on from there."""
    journal.append([event(0)])
    assert not journal.is_missing()
    moved = journal.path.parent.rename(journal.path.parent.with_name("moved"))
    assert journal.is_missing()
    assert journal.recreate()
    assert not journal.is_missing()
    journal.append([event(1)])
    assert records_in(journal.path) == [event(0), event(1)]
    assert records_in(moved / journal.path.name) == [event(0)]


def test_rescuing_a_file_that_is_not_lost_loses_nothing(journal: JournalWriter) -> None:
    """Even a rescue by mistake (a network disk that answered wrongly) keeps every record."""
    journal.append([event(0)])
    assert journal.recreate()
    journal.append([event(1)])
    assert records_in(journal.path) == [event(0), event(1)]
    assert sorted(path.name for path in journal.path.parent.iterdir()) == [journal.path.name]


def test_a_deleted_file_that_cannot_be_read_begins_again(journal: JournalWriter) -> None:
    """Where the deleted file's bytes are gone (NFS), the journal begins anew and says that it is not complete."""
    journal.append([event(0), event(1)])
    journal.path.unlink()
    os.ftruncate(journal.descriptor, 20)
    assert not journal.recreate()
    journal.append([event(2)])
    reader = JournalReader(journal.path)
    assert [frame.record() for frame in reader.frames()] == [event(2)]
    assert reader.damage == []


@pytest.mark.slow
def test_searching_megabytes_of_garbage_ends(tmp_path: Path) -> None:
    """A file whose middle is 64 MB of random bytes is read on both sides of them, in bounded memory and work."""
    journal = JournalWriter.create(tmp_path / "a.tlj", redact)
    journal.append([event(0)])
    with open(journal.path, "ab") as file:
        for seed in range(64):
            file.write(random.Random(seed).randbytes(1 << 20))
    with open(journal.path, "ab") as file:
        file.write(encode_frame(6, 1, msgspec.msgpack.encode(event(1))))
    journal.close()
    reader = JournalReader(journal.path)
    assert [frame.number for frame in reader.frames()] == [0, 1]
    assert len(reader.damage) == 1


def test_the_seal_has_the_size_that_readers_look_for(journal: JournalWriter) -> None:
    """The seal's fixed size is what makes a footer findable in one read."""
    before = journal.size
    journal.append_seal(before)
    assert journal.size - before == SEAL_SIZE
