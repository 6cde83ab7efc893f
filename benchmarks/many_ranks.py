"""What many ranks cost the process that gathers them: the agent of the leading node, for what backends get.

The journals are written here as ranks on other hosts would have written them: one flush a second, of ten metrics at ten
steps. Gathering a flush of all ranks has to take less than the second in which they log it; the ratio says how much.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import measure

from tracelet.agent.delivery.rank_aggregation import RankAggregator
from tracelet.journal.column_packing import pack_floats, pack_integers
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Chunk, Points, Started
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact

METRICS, STEPS = 10, 10
"""Per rank and second: a training of 100 ms a step that logs ten values at each."""
FLUSHES = 5


def journals(folder: Path, ranks: int, world: int = 0, first: int = 0) -> list[JournalWriter]:
    """The journals of ranks that have just begun: of all, or of one node's in a larger world."""
    made = []
    for rank in range(first, first + ranks):
        journal = JournalWriter.create(journal_path(folder, f"rank-{rank}", 0), redact)
        journal.append([
            Started(
                run="r", name="n", project="p", time=1, host=f"node{rank // 8}", pid=1, rank=rank,
                world_size=world or ranks,
            )
        ])  # fmt: skip
        made.append(journal)
    return made


def flush(journal: JournalWriter, number: int) -> None:
    """What a rank logs in a second."""
    steps = list(range(number * STEPS, (number + 1) * STEPS))
    chunks = [
        Chunk(
            name=f"metric{metric}", count=STEPS, steps=pack_integers(steps), stage="train", fit=1,
            times=pack_integers([1_000_000 * step for step in steps]),
            values=pack_floats([0.1 * step for step in steps]),
        )
        for metric in range(METRICS)
    ]  # fmt: skip
    journal.append([Points(chunks=chunks)])


def cost(ranks: int) -> float:
    """Seconds to gather one second of all ranks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = journals(folder, ranks)
        aggregator = RankAggregator(folder)
        found = []
        for number in range(FLUSHES):
            for journal in written:
                flush(journal, number)
            began = time.perf_counter()
            aggregator.aggregate()
            found.append(time.perf_counter() - began)
        aggregator.close()
        for journal in written:
            journal.close()
        return statistics.median(found[1:])


def main() -> None:
    """Print a line for each number of ranks."""
    quick = measure.options(__doc__ or "").quick
    for ranks in (8, 64) if quick else (8, 64, 256, 1024):
        seconds = cost(ranks)
        points = ranks * METRICS * STEPS
        print(f"{ranks:5d} ranks: {seconds:.3f} s for a second of theirs ({points / seconds:,.0f} points a second)")


if __name__ == "__main__":
    main()
