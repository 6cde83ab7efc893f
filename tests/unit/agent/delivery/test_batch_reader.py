"""Batches: what is in them, that they come again as they were, and that compaction changes nothing of it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.journals import footer
from tracelet.agent.delivery import batch_reader as feed_module
from tracelet.agent.delivery.batch_reader import BatchReader, JournalSlice
from tracelet.backends.base import Batch
from tracelet.capture.packer import Packer
from tracelet.capture.sink import SeriesKey
from tracelet.journal.compaction import compact
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Artifact, Event, Facts, Params, Record, Span, Started, Status, Tags
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact
from tracelet.store.delivery_state import Pending

Cursors = dict[str, tuple[int, int]]


def started(**fields: Any) -> Started:
    return Started(**{"run": "r", "name": "n", "project": "p", "time": 1, "host": "h", "pid": 1, **fields})


def points(packer: Packer, name: str, steps: range, **key: Any) -> list[Record]:
    series = SeriesKey(name, **key)
    return packer.pack([(series, step, float(step), step / 10, 1, None) for step in steps])


def write(path: Path, first: Started, records: list[list[Record]], seal: bool = False) -> None:
    journal = JournalWriter.create(path, redact)
    journal.append([first])
    for flush in records:
        journal.append(flush)
    if seal:
        journal.seal(footer(journal, first, Status(time=1, status="finished")))
    journal.close()


def portions(folder: Path, cursors: Cursors | None = None) -> list[JournalSlice]:
    """All that a courier would deliver from here on."""
    place: Cursors = dict(cursors or {})
    feed = BatchReader(folder)
    found = []
    while (journal_slice := feed.next(place)) is not None:
        place[journal_slice.pending.journal] = journal_slice.pending.stop
        found.append(journal_slice)
    return found


def delivered(batches: list[Batch]) -> list[tuple[str, int, float]]:
    return [
        (part.name, step, value)
        for batch in batches for part in batch.points for step, value in zip(part.steps, part.values)
    ]  # fmt: skip


def batches(found: list[JournalSlice]) -> list[Batch]:
    return [journal_slice.batch for journal_slice in found if journal_slice.batch is not None]


def test_every_kind_of_record_has_its_place(tmp_path: Path) -> None:
    """Points keep all their columns; params, tags, facts, artifacts, events and spans are there."""
    packer = Packer()
    artifact = Artifact(time=1, name="a", path="a")
    attributes: dict[str, object] = {"k": 1}
    flush: list[Record] = [
        Params(time=1, values={"lr": 1}), Params(time=2, values={"lr": 2}), Tags(time=1, values={"t": "v"}),
        Facts(time=1, topic="git", values={"commit": "c"}), artifact, Event(time=1, name="fit"),
        Span(id=1, name="open", start_ns=5), Span(id=2, name="failed", start_ns=5, duration_ns=3, error="E: x"),
        *packer.pack([("span", 3, 2, 100, 50, 7, attributes)]),
        *points(packer, "loss", range(3), stage="train", fit=2),
        *points(packer, "system/cpu", range(2), automatic=True), *points(packer, "lr", range(1), automatic=True),
    ]  # fmt: skip
    write(journal_path(tmp_path, "rank-0", 0), started(), [flush])
    (batch,) = batches(portions(tmp_path))
    loss = next(part for part in batch.points if part.name == "loss")
    assert (loss.steps, loss.values, loss.times) == ([0, 1, 2], [0.0, 1.0, 2.0], [0.0, 0.1, 0.2])
    assert (loss.epochs, loss.stage, loss.fit, loss.system) == ([1, 1, 1], "train", 2, False)
    assert {part.name for part in batch.points if part.system} == {"system/cpu"}
    assert (batch.params, batch.tags, batch.facts) == ({"lr": 2}, {"t": "v"}, {"git": {"commit": "c"}})
    assert (batch.artifacts, [event.name for event in batch.events]) == ([artifact], ["fit"])
    assert [(span.name, span.start_ns, span.end_ns, span.error) for span in batch.spans] == [
        ("failed", 5, 8, "E: x"), ("span", 100, 150, ""),
    ]  # fmt: skip
    assert (batch.spans[1].parent, batch.spans[1].attributes) == (2, {"k": 1})


def test_rank_0_and_the_nodes_are_delivered(tmp_path: Path) -> None:
    """Other ranks' points stay in the store; a second node's figures bear its number."""
    for name, first in (
        ("rank-0", started()), ("rank-1", started(rank=1)), ("node-a", started(role="node")),
        ("node-b", started(role="node", rank=4, node_rank=1)),
        ("rank-n1l0", started(node_rank=1)),  # by Lightning: it does not know yet that it is rank 2
    ):  # fmt: skip
        metric = "loss" if name.startswith("rank") else "system/x"
        write(journal_path(tmp_path, name, 0), first, [points(Packer(), metric, range(1), automatic=True)])
    names = [part.name for batch in batches(portions(tmp_path)) for part in batch.points]
    assert names == ["loss", "system/x", "node1/system/x"]


def test_batches_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long journal comes as many batches, each ended by the frame that brings it to its limit."""
    packer = Packer()
    flushes = [points(packer, "loss", range(n * 1000, (n + 1) * 1000)) for n in range(23)]
    write(journal_path(tmp_path, "rank-0", 0), started(), flushes)
    found = batches(portions(tmp_path))
    assert [len(batch) for batch in found] == [5000, 5000, 5000, 5000, 3000]
    assert delivered(found) == [("loss", step, float(step)) for step in range(23_000)]
    monkeypatch.setattr(feed_module, "MAX_FRAMES", 3)
    assert [len(batch) for batch in batches(portions(tmp_path))][:3] == [2000, 3000, 3000]


def test_damage_costs_what_it_hits_and_is_told(tmp_path: Path) -> None:
    """A damaged frame is left out, said in the portion, and what follows is delivered."""
    path = journal_path(tmp_path, "rank-0", 0)
    packer = Packer()
    write(path, started(), [points(packer, "loss", range(n, n + 1)) for n in range(5)])
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    found = portions(tmp_path)
    assert 3 <= len(delivered(batches(found))) < 5
    assert any(journal_slice.damage for journal_slice in found)


def test_a_journal_that_grows_is_followed(tmp_path: Path) -> None:
    """What is appended later comes in the next batch, and nothing twice."""
    packer = Packer()
    journal = JournalWriter.create(journal_path(tmp_path, "rank-0", 0), redact)
    journal.append([started()])
    feed, cursors = BatchReader(tmp_path), Cursors()
    got: list[JournalSlice] = []
    for n in range(10):
        journal.append(points(packer, "loss", range(n * 3, n * 3 + 3)))
        while (journal_slice := feed.next(cursors)) is not None:
            cursors[journal_slice.pending.journal] = journal_slice.pending.stop
            got += [journal_slice]
        assert feed.next(cursors) is None
    journal.close()
    assert delivered(batches(got)) == [("loss", step, float(step)) for step in range(30)]


def content(batch: Batch | None) -> Any:
    """What a backend would see of a batch, whatever the order of its series."""
    if batch is None:
        return None
    series: dict[Any, list[Any]] = {}
    for part in batch.points:
        rows = list(zip(part.steps, part.values, part.times, part.epochs))
        series.setdefault((part.name, part.stage, part.fit, part.system), []).extend(rows)
    return batch.id, series, batch.params, list(batch.events), [span.id for span in batch.spans]


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 6), st.booleans())
def test_a_begun_batch_comes_again_as_it_was(tmp_path_factory: Any, seed: int, frames: int, compacted: bool) -> None:
    """Whatever was appended since, and though the journal was compacted, a pending batch has the same content; and the
    batches before and after it together have every point once.
    """
    folder: Path = tmp_path_factory.mktemp("run")
    dice = random.Random(seed)
    packer = Packer()
    flushes: list[list[Record]] = []
    step = 0
    for n in range(dice.randrange(1, 15)):
        count = dice.randrange(0, 40)
        flush: list[Record] = [Event(time=n, name=f"event {n}")] * dice.randrange(0, 3)
        flush += points(packer, dice.choice(["a", "b"]), range(step, step + count)) if count else []
        flush += [Params(time=n, values={"n": n})] if dice.random() < 0.5 else []
        step += count
        flushes.append(flush or [Event(time=n, name="filler")])
    path = journal_path(folder, "rank-0", 0)
    before, limits = feed_module.MAX_FRAMES, (feed_module.MAX_POINTS,)
    feed_module.MAX_FRAMES = frames
    try:
        write(path, started(), flushes, seal=True)
        live = portions(folder)
        cut = dice.randrange(0, len(live))
        if compacted:
            assert compact(path)
        pending: Pending = live[cut].pending
        repeated = BatchReader(folder).repeat(pending)
        assert repeated is not None
        assert content(repeated.batch) == content(live[cut].batch)
        rest = portions(folder, {path.name: pending.stop})
    finally:
        feed_module.MAX_FRAMES, (feed_module.MAX_POINTS,) = before, limits
    everything = delivered(batches(live[:cut])) + delivered(batches([repeated])) + delivered(batches(rest))
    assert sorted(everything) == sorted(delivered(batches(live)))
