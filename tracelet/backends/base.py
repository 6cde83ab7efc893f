"""The backend interface: a plug-in for one tracking system, in three verbs.

One courier calls it, on one thread, in order, at least once; never in the training process unless `delivery="inline"`.
A backend has no thread, retry loop or global state of its own, and imports its SDK inside functions. It raises

    Unavailable             try the same call again later (network, 503, 429): the courier waits with backoff and jitter
    Unexplained             an unknown error: like `Unavailable`, a limited number of times
    Rejected(records, why)  these records are refused permanently: they become dead letters, the rest was taken
    Misconfigured(why, fix) nothing can be delivered until the settings are fixed: the courier stops, the data stays

Any other exception is treated as `Unexplained`. When a `write` has used up its tries, the courier searches for the
records that cause the failure: they become dead letters, and the rest is delivered.

Files are delivered separately from points: a backend that sends files has a fourth verb, `upload`, which receives
batches of its own. While an upload fails, points, parameters, tags and the status of the run are delivered.

Delivery is at least once: after a crash the last batch is sent again, with `batch.again` set on the first batch after
every `open` and on every repeat of a `write` that raised `Unavailable`. A backend that can recognize what it already
has must then skip it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tracelet.journal.records import Artifact, Event, Record, Scalar


@dataclass(frozen=True)
class RunDescription:
    """The run to deliver, as passed to a backend's `open`. Times are seconds since the epoch."""

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
    """Where copied artifacts are stored, by digest."""
    memory: Mapping[str, Any] = field(default_factory=dict)
    """What this backend stored in an earlier `open` of this run (the remote run's id, for example)."""
    remember: Callable[[str, Any], None] = lambda name, value: None
    """Store a JSON value for later opens of the same run; on disk before it returns. Never a credential."""
    repair: bool = False
    """Everything comes again, cut into other batches: only what the remote run lacks is to be delivered."""
    found: Callable[[], None] = lambda: None
    """Report that the remote run exists although nothing is remembered of it: then everything comes again as well."""
    renamed: Callable[[Mapping[str, str]], None] = lambda names: None
    """Report renamed metrics: our name to the one used by the system. See `Run.deliveries`."""
    announce: Callable[[str], None] = lambda url: None
    """Report the remote run's address, shown in the terminal and the dashboard."""

    @property
    def store(self) -> Path:
        """The store's folder: where a backend puts files unless its options name another place."""
        return self.artifacts_folder.parents[2]


@dataclass(frozen=True)
class SeriesPart:
    """Consecutive points of one metric, in order. All columns have the same length; times are seconds since
    the epoch.
    """

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    times: Sequence[float]
    epochs: Sequence[int]
    """-1 for a point logged outside an epoch."""
    stage: str = ""
    fit: int = 0
    system: bool = False
    """A system metric (`system/...`, `gpu/...`): its step is the number of the sample, its axis is the time."""
    frames: Sequence[int] = ()
    """The number of each point's frame in the journal. With the journal and the point's place among those of the series
    in this frame it identifies a point, however batches are cut. Empty in a batch created by hand.
    """


@dataclass(frozen=True)
class SpanPart:
    """One finished span, in OpenTelemetry's terms: ids are integers, 0 means no parent; times are nanoseconds."""

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
    """The process that wrote the batch's records; for points aggregated over ranks, the leading process."""

    rank: int = 0
    attempt: int = 0
    """How often this rank had been started before."""
    pid: int = 0
    host: str = ""


@dataclass(frozen=True)
class Batch:
    """The content of one `write`: the frames of the run's journals from one cursor to the next, sorted by kind.

    `id` and content are the same when the batch is sent again.
    """

    id: str
    points: Sequence[SeriesPart] = ()
    params: Mapping[str, Scalar] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Topic (git, environment, model, ...) to its facts."""
    artifacts: Sequence[Artifact] = ()
    events: Sequence[Event] = ()
    spans: Sequence[SpanPart] = ()
    begun: Sequence[SpanPart] = ()
    """Spans that have begun and not ended (their end is before their start); those that end later come in `spans`."""
    journal: str = ""
    """The journal that the batch comes from, without its suffix: `rank-0.0` is the first process of rank 0."""
    records: Sequence[tuple[int, Record]] = ()
    """Parameters, tags, facts, artifacts and events once more, as written, each with its frame's number."""
    source: Source = Source()
    again: bool = False
    """The first batch after `open`, or a repeated one: it may have been delivered before, completely or in part."""

    def __len__(self) -> int:
        """The number of points."""
        return sum(len(part.steps) for part in self.points)


@dataclass(frozen=True)
class Outcome:
    """How the run ended. `status`: finished, failed, interrupted, preempted or killed; `ended`: seconds."""

    status: str
    reason: str
    ended: float


class Backend(Protocol):
    """Delivers to one tracking system. Constructed with its frozen options dataclass; see the class attribute
    `options`.

    Options are plain values with defaults. A server's address is always named `url` and its key `api_key`, because
    `start_logging(backend_url=..., api_key=...)` sets these.

    A concrete class has `name: ClassVar[str]` (its key in `backend=...`), `options: ClassVar[type]` (a frozen dataclass
    whose field names, defaults and docstrings are the documented settings), `extra: ClassVar[str]` (what to install).
    It may also have `check() -> str`: `tracelet doctor` calls it, before any `open`, to report the destination and the
    source of the credentials; it raises as the verbs do, and imports no SDK that takes seconds. With `every_rank:
    ClassVar[bool] = True` it receives the spans and events of all ranks, not only of rank 0; points always come as one
    series over all ranks.

    With a method `upload(batch: Batch) -> None` it receives facts, artifacts, events and parameters a second time, in
    batches without points: it sends files there, and not in `write`. It raises as `write` does, and is called again
    after a failure without delaying any `write` or `close`; `Misconfigured` sets that batch aside.
    """

    def open(self, run: RunDescription) -> None:
        """Create the remote run, or find the one that an earlier `open` created, and be ready for `write`."""

    def write(self, batch: Batch) -> None:
        """Deliver one batch; when it returns, the remote system (or its local spool) has it."""

    def close(self, outcome: Outcome | None) -> None:
        """Close the connection. With an outcome the run is over, and its remote status is set; without one it continues
        in another process.

        Called again after `Unavailable`. `Rejected` means closed, except for these records of earlier batches.
        """
