"""What a backend is: a plug-in that speaks to one tracking system, in three verbs.

Called by one courier, on one thread, in order, at least once; never in the training process unless `delivery="inline"`.
A backend has no thread, retry loop or global state of its own, and imports its SDK inside functions. It raises

    Unavailable             try the same call again later (network, 503, 429): the courier waits with backoff and jitter
    Unexplained             an answer that is not known: like `Unavailable`, a limited number of times
    Rejected(records, why)  these records are refused for good: they become dead letters, the rest was taken
    Misconfigured(why, fix) nothing can be delivered until the settings are mended: the courier stops, the data stays

Anything else that it lets pass is treated as `Unexplained`. When the tries of a `write` are used up, the courier looks
for the records that cause it: they become dead letters, and the rest is delivered.

What goes as files travels apart from points: a backend that sends files has a fourth verb, `upload`, which gets
batches of its own. While an upload fails, points, parameters, tags and the status of the run are delivered.

Delivery is at least once: after a crash the last batch comes again, with `batch.again` set on the first batch after
every `open` and on every repeat of a `write` that raised `Unavailable`. A backend that can recognise what it
has already must leave it out then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tracelet.journal.records import Artifact, Event, Record, Scalar


@dataclass(frozen=True)
class RunDescription:
    """The run that is to be delivered, as a backend's `open` gets it. Times are seconds since the epoch."""

    id: str
    name: str
    project: str
    started: float
    command: Sequence[str]
    folder: str
    """The working directory of the training."""
    host: str
    params: Mapping[str, Scalar]
    tags: Mapping[str, str]
    git: Mapping[str, Any]
    environment: Mapping[str, Any]
    artifacts_folder: Path
    """Where copied artifacts lie, by digest."""
    memory: Mapping[str, Any] = field(default_factory=dict)
    """What this backend remembered in an earlier `open` of this run (its remote run id, say)."""
    remember: Callable[[str, Any], None] = lambda name, value: None
    """Keep a JSON value for later opens of the same run; on disk before it returns. Never a credential."""
    renamed: Callable[[Mapping[str, str]], None] = lambda names: None
    """Report the names that the system does not take: ours to the one used there. See `Run.deliveries`."""
    announce: Callable[[str], None] = lambda url: None
    """Say where the remote run is to be seen; shown in the terminal and the dashboard."""

    @property
    def store(self) -> Path:
        """The store's folder: where a backend puts files of its own unless its options name another place."""
        return self.artifacts_folder.parents[2]


@dataclass(frozen=True)
class SeriesPart:
    """Consecutive points of one metric, in order. All columns are equally long; times are seconds since the epoch."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    times: Sequence[float]
    epochs: Sequence[int]
    """-1 where a point was logged outside an epoch."""
    stage: str = ""
    fit: int = 0
    system: bool = False
    """A metric of the machine (`system/...`, `gpu/...`): its step is the number of the sample, its axis is the time."""
    frames: Sequence[int] = ()
    """The number of the journal's frame that each point stood in. With the journal and the point's place among those of
    the series in this frame it identifies a point, however batches are cut. Empty in a batch made by hand."""


@dataclass(frozen=True)
class SpanPart:
    """One finished span, as OpenTelemetry has it: ids are integers, 0 is no parent; times are nanoseconds."""

    id: int
    parent: int
    name: str
    start_ns: int
    end_ns: int
    rank: int = 0
    thread: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[Event] = ()
    error: str = ""


@dataclass(frozen=True)
class Source:
    """The process that wrote what is in a batch; the leading one, where it is the points of all ranks together."""

    rank: int = 0
    attempt: int = 0
    """How often this rank had been started before."""
    pid: int = 0
    host: str = ""


@dataclass(frozen=True)
class Batch:
    """What one `write` delivers: the frames of the run's journals from one cursor to the next, sorted by kind.

    `id` is the same when the batch comes again, and so is its content.
    """

    id: str
    points: Sequence[SeriesPart] = ()
    params: Mapping[str, Scalar] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Topic (git, environment, model, ...) to what was found."""
    artifacts: Sequence[Artifact] = ()
    events: Sequence[Event] = ()
    spans: Sequence[SpanPart] = ()
    begun: Sequence[SpanPart] = ()
    """Spans that have begun and not ended (their end is before their start): those that end later come in `spans`."""
    journal: str = ""
    """The journal that all of it comes from, without its suffix: `rank-0.0` is the first process of rank 0."""
    records: Sequence[tuple[int, Record]] = ()
    """Parameters, tags, facts, artifacts and events once more, as they were written, each with its frame's number."""
    source: Source = Source()
    again: bool = False
    """The first batch after `open`, or the repeat of one: it may have been delivered before, wholly or in part."""

    def __len__(self) -> int:
        """How many points."""
        return sum(len(part.steps) for part in self.points)


@dataclass(frozen=True)
class Outcome:
    """How the run ended. `status`: finished, failed, interrupted, preempted or killed; `ended`: seconds."""

    status: str
    reason: str
    ended: float


class Backend(Protocol):
    """Speaks to one tracking system. Constructed with its frozen options dataclass; see the class attribute `options`.

    Options are plain values with defaults. The server's address is called `url` and its key `api_key` wherever there
    are such, for that is what `start_logging(backend_url=..., api_key=...)` sets.

    A concrete class has `name: ClassVar[str]` (its key in `backend=...`), `options: ClassVar[type]` (a frozen dataclass
    whose field names, defaults and docstrings are the documented settings), `extra: ClassVar[str]` (what to install).
    It may have `check() -> str` too: `tracelet doctor` asks it, before any `open`, where it would deliver and with
    whose credentials, told by where they come from; it raises as the verbs do, and imports no SDK that takes seconds.
    With `every_rank: ClassVar[bool] = True` it gets the spans of all ranks and their events, not those of rank 0 alone;
    points come as one series over all ranks in any case.

    With a method `upload(batch: Batch) -> None` it gets facts, artifacts, events and parameters a second time, in
    batches without points: what goes as files is sent there, and not in `write`. It raises as `write` does, and is
    called again after a failure without delaying any `write` or `close`; `Misconfigured` sets that batch aside.
    """

    def open(self, run: RunDescription) -> None:
        """Create the remote run, or find the one that an earlier `open` made, and be ready for `write`."""

    def write(self, batch: Batch) -> None:
        """Deliver one batch; when it returns, the remote system (or its local spool) has it."""

    def close(self, outcome: Outcome | None) -> None:
        """Let go. With an outcome the run is over and its remote status is set; without one it goes on elsewhere.

        Called again after `Unavailable`. `Rejected` says: closed, but for these records of earlier batches.
        """
