"""What backends get of several ranks: each step once, complete if it can be, and never held up for good."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest

from tests.journals import finish
from tracelet.agent.delivery.batch_reader import BatchReader
from tracelet.agent.delivery.rank_aggregation import RankAggregator
from tracelet.agent.delivery.reduction import RankValue, reduce_values
from tracelet.journal.column_packing import pack_floats, pack_integers
from tracelet.journal.compaction import compact
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Chunk, Points, Record, Started, Status
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact

WORLD = 2


class Rank:
    """A process on another host, which lives until it says that it has ended."""

    def __init__(
        self, folder: Path, rank: int, attempt: int = 0, branch: int = 0, world: int = WORLD, node: int = 0
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.journal = JournalWriter.create(journal_path(folder, f"rank-{rank}", attempt), redact)
        self.started = Started(
            run=folder.name, name="n", project="p", time=1, host="elsewhere", pid=1, rank=rank, world_size=world,
            attempt=attempt, branch=branch, node_rank=node,
        )  # fmt: skip
        self.write(self.started)

    def write(self, *records: Record) -> None:
        """Append."""
        self.journal.append(records)

    def log(self, name: str, points: dict[int, float], reduce: str = "sum") -> None:
        """Points of a fit."""
        steps = list(points)
        self.write(Points(chunks=[Chunk(
            name=name, count=len(steps), steps=pack_integers(steps), times=pack_integers([1000 * s for s in steps]),
            values=pack_floats(list(points.values())), stage="train", fit=1, reduce=reduce,
        )]))  # fmt: skip

    def end(self) -> None:
        """The process ends."""
        self.write(Status(time=2, status="finished"))
        self.journal.close()


def delivered(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What a backend would have got by now."""
    feed, cursors = BatchReader(folder), dict[str, tuple[int, int]]()
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    while (portion := feed.next(cursors)) is not None:
        cursors[portion.pending.journal] = portion.pending.stop
        for part in portion.batch.points if portion.batch else ():
            found[part.name] += zip(part.steps, part.values)
    return dict(found)


def test_a_step_is_written_when_all_ranks_have_written_it(tmp_path: Path) -> None:
    """What one rank has and another one lacks waits; the end comes when all have ended."""
    first, second = Rank(tmp_path, 0), Rank(tmp_path, 1)
    aggregator = RankAggregator(tmp_path)
    first.log("m", {0: 1.0, 1: 2.0, 2: 3.0})
    second.log("m", {0: 10.0})
    assert not aggregator.aggregate()
    assert delivered(tmp_path) == {"m": [(0, 11.0)]}
    second.log("m", {1: 20.0, 2: 30.0})
    assert not aggregator.aggregate()
    assert delivered(tmp_path) == {"m": [(0, 11.0), (1, 22.0), (2, 33.0)]}
    first.end()
    second.end()
    assert aggregator.aggregate()
    aggregator.close()


def test_a_rank_that_ended_is_not_waited_for(tmp_path: Path) -> None:
    """When a rank dies alone, what the others have goes on; nothing of what it had written is lost."""
    first, second = Rank(tmp_path, 0), Rank(tmp_path, 1)
    first.log("m", {0: 1.0, 1: 2.0})
    second.log("m", {0: 10.0})
    second.end()
    aggregator = RankAggregator(tmp_path)
    aggregator.aggregate()
    assert delivered(tmp_path) == {"m": [(0, 11.0), (1, 2.0)]}
    first.end()
    assert aggregator.aggregate()
    aggregator.close()


def test_a_late_rank_is_waited_for_until_the_deadline_and_never_doubled(tmp_path: Path) -> None:
    """After the deadline the step goes without it; its part, when it comes, is not delivered once more."""
    first, second = Rank(tmp_path, 0), Rank(tmp_path, 1)
    first.log("m", {0: 1.0, 1: 2.0})
    second.log("m", {0: 10.0})
    aggregator = RankAggregator(tmp_path, deadline=1e-9)
    aggregator.aggregate()
    assert delivered(tmp_path) == {"m": [(0, 11.0), (1, 2.0)]}
    second.log("m", {1: 20.0, 2: 30.0})
    first.log("m", {2: 3.0})
    aggregator.aggregate()
    assert delivered(tmp_path) == {"m": [(0, 11.0), (1, 2.0), (2, 33.0)]}
    for rank in (first, second):
        rank.end()
    assert aggregator.aggregate()
    aggregator.close()


def test_a_metric_of_one_rank_waits_once(tmp_path: Path) -> None:
    """What only one rank logs costs the deadline once, and what is synced costs nothing."""
    first, second = Rank(tmp_path, 0), Rank(tmp_path, 1)
    aggregator = RankAggregator(tmp_path, deadline=0.05)
    first.log("alone", {0: 1.0})
    first.log("synced", {0: 5.0}, "synced")
    aggregator.aggregate()
    assert delivered(tmp_path) == {"synced": [(0, 5.0)]}
    time.sleep(0.06)
    aggregator.aggregate()
    slow = RankAggregator(tmp_path, deadline=1000.0)
    aggregator._deadline = 1000.0
    first.log("alone", {1: 2.0})
    aggregator.aggregate()
    assert delivered(tmp_path)["alone"] == [(0, 1.0), (1, 2.0)]
    for rank in (first, second):
        rank.end()
    assert aggregator.aggregate()
    aggregator.close()
    slow.close()


def test_a_gatherer_goes_on_where_another_one_died(tmp_path: Path) -> None:
    """Nothing that was written is written again, and nothing is left out."""
    first, second = Rank(tmp_path, 0), Rank(tmp_path, 1)
    for rank in (first, second):
        rank.log("m", {0: 1.0, 1: 2.0, 5: 3.0})
        rank.log("m", {1: 7.0})  # a step that comes again
    one = RankAggregator(tmp_path)
    one.aggregate()
    before = delivered(tmp_path)
    assert before == {"m": [(0, 2.0), (1, 4.0), (5, 6.0), (1, 14.0)]}
    one.close()
    two = RankAggregator(tmp_path)
    two.aggregate()
    assert delivered(tmp_path) == before
    for rank in (first, second):
        rank.log("m", {6: 1.0})
        rank.end()
    assert two.aggregate()
    assert delivered(tmp_path) == {"m": [*before["m"], (6, 2.0)]}
    two.close()


def test_only_one_process_gathers(tmp_path: Path) -> None:
    """While one gathers, another one writes nothing, and knows the end when the first has come to it."""
    ranks = [Rank(tmp_path, 0), Rank(tmp_path, 1)]
    for rank in ranks:
        rank.log("m", {0: 1.0})
    one, two = RankAggregator(tmp_path), RankAggregator(tmp_path)
    one.aggregate()
    assert not two.aggregate()
    for rank in ranks:
        rank.end()
    assert one.aggregate()
    assert two.aggregate()
    assert delivered(tmp_path) == {"m": [(0, 2.0)]}
    one.close()
    two.close()


@pytest.mark.parametrize("world", [1, 2])
def test_steps_trained_again_after_a_rollback_are_not_delivered_again(tmp_path: Path, world: int) -> None:
    """A resumed run goes on in the backend after the last step that it has: without gap, without repetition."""
    ranks = [Rank(tmp_path, rank, world=world) for rank in range(world)]
    for rank in ranks:
        rank.log("m", dict.fromkeys(range(5), 1.0))
        rank.end()
    aggregator = RankAggregator(tmp_path)
    assert aggregator.aggregate()
    resumed = [Rank(tmp_path, rank, attempt=1, branch=1, world=world) for rank in range(world)]
    for rank in resumed:
        rank.log("m", dict.fromkeys(range(3, 8), 2.0))
        rank.end()
    assert aggregator.aggregate()
    scale = float(world)
    expected = [(step, scale) for step in range(5)] + [(step, 2 * scale) for step in range(5, 8)]
    assert delivered(tmp_path) == {"m": expected}
    aggregator.close()


@pytest.mark.parametrize("known", [True, False])
def test_branches_that_ended_before_anybody_looked_are_gathered_at_once(tmp_path: Path, known: bool) -> None:
    """However often a run was resumed: nothing more is to be expected only when its last branch has been written."""
    for branch in range(3):
        ranks = [Rank(tmp_path, rank, attempt=branch, branch=branch) for rank in range(WORLD)]
        for rank in ranks:
            rank.log("m", dict.fromkeys(range(branch * 4, branch * 4 + 6), 1.0))
            rank.end()
        if known and not branch:  # an earlier agent has come to its end
            earlier = RankAggregator(tmp_path)
            assert earlier.aggregate()
            earlier.close()
    aggregator = RankAggregator(tmp_path)
    assert aggregator.aggregate()
    assert delivered(tmp_path) == {"m": [(step, 2.0) for step in range(14)]}
    aggregator.close()


def test_what_was_logged_before_the_process_group_is_rank_0s(tmp_path: Path) -> None:
    """Lightning's launcher starts ranks late: rank 0's points from before go as they are, those after are reduced."""
    first = Rank(tmp_path, 0, world=1)
    first.log("before", {0: 1.0})
    first.write(msgspec.structs.replace(first.started, world_size=2))
    second = Rank(tmp_path, 1)
    for rank in (first, second):
        rank.log("after", {0: 1.0})
        rank.end()
    aggregator = RankAggregator(tmp_path)
    assert aggregator.aggregate()
    assert delivered(tmp_path) == {"before": [(0, 1.0)], "after": [(0, 2.0)]}
    aggregator.close()


def test_the_reductions_of_the_agent_are_those_of_readers() -> None:
    """Without numpy, in float32 where the values are: the same numbers as `tracelet.store.aggregation` gives."""
    import numpy as np

    from tracelet.store.aggregation import Grid, reduce

    dice = np.random.default_rng(0)
    values = dice.normal(size=(3, 200)).astype(np.float32)
    weights = dice.integers(1, 40, size=(3, 200)).astype(np.float64)
    totals = (values * weights.astype(np.float32)).astype(np.float32)
    unknown, there = np.full((3, 200), np.nan), np.ones((3, 200), dtype=np.bool_)
    for name in ("mean", "sum", "min", "max", "synced"):
        for weight, total in ((unknown, unknown), (weights, totals.astype(np.float64))):
            expected = reduce(name, Grid(values.astype(np.float64), weight, total, there))
            found = [
                reduce_values(
                    name, [RankValue(float(values[r, c]), float(weight[r, c]), float(total[r, c])) for r in range(3)]
                )
                for c in range(200)
            ]
            assert found == expected.tolist(), name


def test_the_tail_of_a_journal_that_was_compacted_at_once_is_not_lost(tmp_path: Path) -> None:
    """What a rank wrote last is gathered, though its file is a shorter one by the time the gatherer looks."""
    first, second = Rank(tmp_path, 0), Rank(tmp_path, 1)
    aggregator = RankAggregator(tmp_path)
    for step in range(50):
        first.log("m", {step: 1.0})
        second.log("m", {step: 10.0})
    assert not aggregator.aggregate()
    for rank in (first, second):
        rank.log("m", {50: 1.0})
        before = rank.journal.size
        finish(rank.journal, rank.started)
        assert compact(rank.journal.path)
        assert rank.journal.path.stat().st_size < before
    assert aggregator.aggregate()
    aggregator.close()
    assert delivered(tmp_path)["m"][-1] == (50, 2.0)


def test_what_a_dead_rank_of_another_node_wrote_may_still_be_on_its_way(tmp_path: Path) -> None:
    """Its process is gone and its journal is not here to the end: its steps wait for the other node, ours do not."""
    awaited = [True]
    aggregator = RankAggregator(tmp_path, expects_more=lambda: awaited[0])
    ours, dead = Rank(tmp_path, 0, world=3), Rank(tmp_path, 1, world=3)
    away = Rank(tmp_path, 2, world=3, node=1)
    ours.log("m", {0: 1.0, 1: 1.0})
    dead.log("m", {0: 10.0})
    away.log("m", {0: 100.0})
    long_ago = time.time() - 1000
    for rank in (dead, away):
        os.utime(rank.journal.path, (long_ago, long_ago))
    assert not aggregator.aggregate()
    assert delivered(tmp_path) == {"m": [(0, 111.0)]}
    away.log("m", {1: 100.0})
    os.utime(away.journal.path, (long_ago, long_ago))
    assert not aggregator.aggregate()
    assert delivered(tmp_path) == {"m": [(0, 111.0), (1, 101.0)]}
    ours.end()
    awaited[0] = False
    assert aggregator.aggregate()
    aggregator.close()


def test_ranks_of_nodes_that_are_awaited_are_waited_for(tmp_path: Path) -> None:
    """When all ranks that are known have ended, others may still be on their way from another node."""
    awaited = [True]
    aggregator = RankAggregator(tmp_path, expects_more=lambda: awaited[0])
    first = Rank(tmp_path, 0)
    first.log("m", {0: 1.0})
    first.end()
    assert not aggregator.aggregate()
    assert delivered(tmp_path) == {}
    second = Rank(tmp_path, 1)
    second.log("m", {0: 10.0})
    second.end()
    awaited[0] = False
    assert aggregator.aggregate()
    aggregator.close()
    assert delivered(tmp_path) == {"m": [(0, 11.0)]}
