"""Journals that are damaged or hostile: the work of reading them is bounded by their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journals import points, started, write
from tracelet.journal.frames import HEADER, MARKER, READ_BLOCK, Cursor, Scan
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.journal_view import JournalView
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.read_budget import FREE_BYTES, FREE_POINTS, POINTS_PER_BYTE, SEARCHES_PER_BYTE
from tracelet.journal.records import Chunk, Points
from tracelet.redaction.known_secrets import redact
from tracelet.store.run import Run


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[JournalWriter]:
    """A journal that has begun."""
    path = write(tmp_path / "r1", started(world_size=1))
    path.unlink()
    made = JournalWriter.create(path, redact)
    made.append([started(world_size=1)])
    yield made
    made.close()


def claim(count: int) -> Points:
    """A few bytes that claim to be many points."""
    column = ("=", 0, 1)
    return Points(chunks=[Chunk(name="loss", count=count, steps=column, times=column, values=("*", 0.5, b""))])


def test_few_bytes_cannot_claim_many_points(journal: JournalWriter) -> None:
    """Of chunks that claim sixteen million points each, only what the budget has is read; the rest is reported."""
    for _ in range(40):
        journal.append([claim(FREE_POINTS // 2)])
    size = journal.path.stat().st_size
    view = JournalView(journal.path)
    assert 0 < view.metrics["loss"].count <= FREE_POINTS + POINTS_PER_BYTE * size
    assert any("claims more points than a file of this size holds" in sentence for sentence in view.damage)
    assert sum(chunk.count for chunk in view.chunks("loss")) <= FREE_POINTS + POINTS_PER_BYTE * size
    assert len(Run(journal.path.parent).series("loss").values) <= FREE_POINTS + POINTS_PER_BYTE * size


def test_a_constant_metric_with_real_times_is_within_the_budget(journal: JournalWriter) -> None:
    """Many flushes of the densest points that a program can log are read whole."""
    for step in range(0, 100_000, 1000):
        journal.append([points("loss", [0.0] * 1000, step=step)])
    view = JournalView(journal.path)
    assert (view.metrics["loss"].count, view.damage) == (100_000, [])


def test_false_headers_do_not_make_the_search_quadratic(journal: JournalWriter) -> None:
    """Damage full of headers that claim long frames is read a bounded number of times, and given up with a notice."""
    header = HEADER.pack(MARKER, 3, 0, 150_000, 7, 0)
    with open(journal.path, "ab") as file:
        file.write(header * 15_000)
    read: list[int] = []

    class Counting(Scan):
        """Counts the bytes that are read."""

        def _read(self, offset: int, length: int) -> bytes:
            found = super()._read(offset, length)
            read.append(len(found))
            return found

    size = journal.path.stat().st_size
    damage: list[str] = []
    with open(journal.path, "rb") as whole:
        assert len(list(Counting(whole.fileno(), size, damage).frames(Cursor()))) == 1
    assert sum(read) <= FREE_BYTES + (SEARCHES_PER_BYTE + 3) * size + READ_BLOCK
    assert any("too many false headers" in sentence for sentence in damage)


def test_a_journal_behind_itself_is_read_once(journal: JournalWriter) -> None:
    """`cat a >> a` doubles nothing; what is appended to the first part later is still read after the cursor."""
    journal.append([points("loss", [1.0, 2.0])])
    before = [frame.number for frame in JournalReader(journal.path).frames()]
    content = journal.path.read_bytes()
    with open(journal.path, "ab") as file:
        file.write(content)
    reader = JournalReader(journal.path)
    assert [frame.number for frame in reader.frames()] == before
    assert any("have its number or an earlier one" in sentence for sentence in reader.damage)
    assert JournalView(journal.path).metrics["loss"].count == 2
