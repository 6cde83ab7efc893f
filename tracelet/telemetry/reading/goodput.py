"""What became of the wall time of a run, over all its attempts and ranks: productive, lost, down, and the rest. Pure.

Used by `tracelet time`. Each process has the time from its start to its end; between two attempts of a rank the rank is
down. All parts together are the run's wall time, times the number of ranks. `docs/telemetry.md` has the definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracelet.journal.records import FINISHED
from tracelet.store.process_status import ProcessStatus
from tracelet.telemetry.names import CHECKPOINT_LOAD, SAVES, TRAINING_LOOP
from tracelet.telemetry.reading.attribution import Attribution

if TYPE_CHECKING:
    from tracelet.journal.column_packing import IntArray

NANO = 1e9
PARTS = (
    "productive", "evaluation", "checkpoint", "startup", "data_wait", "collective_wait", "overhead", "lost", "down",
    "unknown",
)  # fmt: skip
PART_OF = {
    "forward": "productive", "backward": "productive", "optimizer": "productive", "validation": "evaluation",
    "testing": "evaluation", "prediction": "evaluation", "checkpoints": "checkpoint", "initialization": "startup",
    "loading": "data_wait", "collective_wait": "collective_wait", "callbacks": "overhead", "logging": "overhead",
    "transfer": "overhead", "tuning": "overhead",
}  # fmt: skip
"""To which part each category of `attribution` belongs."""


@dataclass
class RunTime:
    """The wall time of a run, in seconds."""

    wall: float
    ranks: int
    attempts: int
    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    """Over all ranks; together `wall` times `ranks`."""

    @property
    def goodput(self) -> float:
        """The productive share."""
        total = self.wall * self.ranks
        return self.parts["productive"] / total if total else 0.0


@dataclass(frozen=True)
class _Process:
    """One attempt of a rank; times in nanoseconds."""

    spans: Attribution
    begin: int
    end: int
    status: str
    iterations: IntArray


def run_time(spans: Sequence[Attribution], statuses: Mapping[int, ProcessStatus]) -> RunTime | None:
    """The account of a run; None if nothing is known of its processes."""
    known = [_process(one, statuses[one.columns.process]) for one in spans if one.columns.process in statuses]
    if not known:
        return None
    began, ended = min(one.begin for one in known), max(one.end for one in known)
    trained = [one for one in known if len(one.iterations)] or known  # a launcher waits for those that it launched
    ranks: dict[int, list[_Process]] = {}
    for one in sorted(trained, key=lambda one: one.begin):
        ranks.setdefault(one.spans.columns.rank, []).append(one)
    found = RunTime((ended - began) / NANO, len(ranks), max(len(attempts) for attempts in ranks.values()))
    for attempts in ranks.values():
        _add_rank(found.parts, attempts, began, ended)
    found.parts["unknown"] = max(0.0, found.wall * found.ranks - sum(found.parts.values()))
    return found


def _process(spans: Attribution, known: ProcessStatus) -> _Process:
    columns, started = spans.columns, known.started
    begin = started.time * 1000 - int(started.process_age * NANO)
    end = max(known.status.time * 1000, int(columns.begin[0]) + columns.total)
    return _Process(spans, begin, end, known.status.status, columns.iterations())


def _add_rank(parts: dict[str, float], attempts: Sequence[_Process], began: int, ended: int) -> None:
    parts["startup"] += max(0, attempts[0].begin - began) / NANO  # whoever launches it has begun before
    for place, one in enumerate(attempts):
        later = attempts[place + 1 :]
        until = min([one.end, *(other.begin for other in later[:1])])
        cut = min(_cut(one, later), until)
        parts["lost"] += (until - cut) / NANO
        following = later[0].begin if later else ended
        parts["down"] += max(0, following - until) / NANO
        _add_kept(parts, one, cut)


def _cut(one: _Process, later: Sequence[_Process]) -> int:
    """From when on the work of a process was lost: what later attempts have done again."""
    cuts = [one.end]
    for other in later:
        moment = _resumed_at(one, other)
        if moment is not None:
            cuts.append(moment)
    return min(cuts)


def _resumed_at(one: _Process, other: _Process) -> int | None:
    """The moment of this process from which another one has trained again; None if from its end."""
    import numpy as np

    mine, theirs = _loops(one), _loops(other)
    if not mine or not theirs:
        return None
    fit, (start, begin) = list(mine.items())[-1]
    if fit not in theirs:
        return None
    saved = _saved(one, other)
    resumed = theirs[fit][0]
    if not resumed and saved is not None:
        return saved
    columns = one.spans.columns
    starts = columns.starts[one.iterations]
    rows = one.iterations[starts >= begin]
    kept = max(0, resumed - start)
    if kept < len(rows):
        return int(columns.starts[rows[kept]]) if kept or resumed else begin
    if one.status == FINISHED:
        return None
    # The iteration in which it ended is lost; what it has done after its last complete one is not.
    closed = one.spans.counted.copy()
    closed[columns.open] = False
    closed &= ~np.isin(columns.above, columns.open) | columns.named(*SAVES)
    return int(max(columns.ends[closed].max(initial=begin), columns.ends[rows].max(initial=begin)))


def _loops(one: _Process) -> dict[object, tuple[int, int]]:
    """By fit, the first iteration of its training loop and when that began."""
    columns = one.spans.columns
    found: dict[object, tuple[int, int]] = {}
    for row in (columns.named(TRAINING_LOOP) & ~columns.tuned).nonzero()[0].tolist():
        told = columns.attributes.get(row, {})
        found.setdefault(told.get("fit"), (int(told.get("train_iterations_start") or 0), int(columns.starts[row])))
    return found


def _saved(one: _Process, other: _Process) -> int | None:
    """When this process had written the checkpoint that the other one has loaded first; None if it did not."""
    theirs, mine = other.spans.columns, one.spans.columns
    loads = theirs.named(CHECKPOINT_LOAD).nonzero()[0].tolist()
    paths = {theirs.attributes.get(row, {}).get("path") for row in loads[:1]} - {None, ""}
    saves = mine.named(*SAVES).nonzero()[0].tolist()
    ends = [int(mine.ends[row]) for row in saves if mine.attributes.get(row, {}).get("path") in paths]
    return max(ends, default=None)


def _add_kept(parts: dict[str, float], one: _Process, cut: int) -> None:
    """What a process did until the cut."""
    import numpy as np

    columns = one.spans.columns
    rows = one.iterations
    first = int(min(columns.starts[rows[0]], cut)) if len(rows) else one.begin
    parts["startup"] += (first - one.begin) / NANO
    length = columns.durations[rows]
    usual = float(np.median(length)) if len(rows) else 0.0
    slower = max(0.0, float(length[0]) - usual) if len(rows) > 1 else 0.0
    first_end = first + int(length[0]) if len(rows) else first
    bare = _bare(one, cut)
    parts["productive"] += float(bare.sum() - (slower if len(bare) and bare[0] else 0.0)) / NANO
    shortened = usual / float(length[0]) if slower else 1.0
    parts["startup"] += min(slower, float(max(0, cut - first))) / NANO
    for name, code in columns.codes.items():
        category = one.spans.category(name)
        if category is None:
            continue
        chosen = one.spans.counted & (columns.kinds == code) & (columns.starts >= first) & (columns.starts < cut)
        own = np.minimum(one.spans.own[chosen], cut - columns.starts[chosen]).astype(float)
        own[columns.starts[chosen] < first_end] *= shortened
        parts[PART_OF[category]] += float(own.sum()) / NANO


def _bare(one: _Process, cut: int) -> IntArray:
    """The durations of iterations without phases, which a program times by hand: 0 of others."""
    import numpy as np

    columns, rows = one.spans.columns, one.iterations
    starts, ends = columns.starts[rows], columns.ends[rows]
    phases = sum(one.spans.by_period(starts, ends).values()) if len(rows) else 0
    return np.where((phases == 0) & (starts < cut), np.minimum(ends, cut) - starts, 0)
