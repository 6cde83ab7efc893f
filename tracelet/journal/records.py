"""The kinds of record that a journal holds. Frozen.

Written by `tracelet.capture.writer` (one thread of the training process) and by the agent; read by everybody.
Times are integer microseconds since the Unix epoch (UTC), durations too unless a name says `_ns`.

A record is stored as a msgpack map of its field names, so that a later version may add fields with defaults and both
directions stay readable. `Chunk` alone is stored as an array, because there are many; new fields go at its end.
"""

from __future__ import annotations

from typing import Any, Union

import msgspec

from tracelet.journal.media_record import Media as Media  # noqa: PLC0414  # imported from here like all records
from tracelet.journal.metric_definition import MetricDefinition as MetricDefinition  # noqa: PLC0414  # imported from here
from tracelet.journal.metric_records import FitMetrics as FitMetrics  # noqa: PLC0414  it is a record, too
from tracelet.journal.metric_records import MetricSummary as MetricSummary  # noqa: PLC0414  it is a record, too
from tracelet.journal.record_base import Int64 as Int64  # noqa: PLC0414
from tracelet.journal.record_base import Record as Record  # noqa: PLC0414

Scalar = Union[str, int, float, bool, None]
"""What a parameter or an attribute may be once it is recorded."""

Packed = tuple[str, Union[int, float], Union[bytes, int]]
"""One column of a chunk; see `tracelet.journal.column_packing` for the codes."""

RUNNING, FINISHED, FAILED = "running", "finished", "failed"
INTERRUPTED, PREEMPTED, KILLED = "interrupted", "preempted", "killed"
PRUNED = "pruned"
"""Of a trial that a sweep ended early; see `tracelet.store.pruning`. No journal has it."""
STATUSES = (RUNNING, FINISHED, FAILED, INTERRUPTED, PREEMPTED, KILLED, PRUNED)


class Started(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The first record of every journal: which run, which process, where and how it was started."""

    run: str
    name: str
    project: str
    time: Int64
    host: str
    pid: Int64
    process_started: float = 0.0
    """Start of the process in seconds since the epoch: distinguishes a reused pid."""
    process_age: float = 0.0
    """Seconds for which the process had run by then, if that was to start this run; 0 if unknown, as in a notebook."""
    role: str = "rank"
    """`rank` for a training process, `node` for an agent's journal."""
    rank: Int64 = 0
    local_rank: Int64 = 0
    node_rank: Int64 = 0
    world_size: Int64 = 1
    attempt: Int64 = 0
    """0 for the first process of this rank, 1 for the one that resumed it, ..."""
    parent: str = ""
    """The file name of the journal of the process that launched this one as a rank of the run, if it records too."""
    launch: str = ""
    """Equal in all processes that were started together."""
    branch: Int64 = 0
    """How often the run was resumed before: what a branch trained again supersedes what earlier ones had trained."""
    command: list[str] = []
    folder: str = ""
    version: str = ""
    resumed_from: str = ""
    backends: dict[str, dict[str, Any]] = {}
    """Where the run is to be delivered: name to options, credentials never among them."""
    by_fit: bool = False
    """Whether records say which fit they belong to; a journal from before that is read as one fit."""
    origin: str = ""
    """Shows the user who recorded the run that these destinations are his; says nothing to anybody else."""


class Chunk(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Consecutive points of one series, as packed columns of `count` values each."""

    name: str
    count: Int64
    steps: Packed
    times: Packed
    values: Packed
    stage: str = ""
    """`train`, `validate`, `test`, `predict`, or empty for points that the user logged."""
    fit: Int64 = 0
    """The number of the fit in its process, from 1; 0 outside one. A test or validation has that of what was fitted."""
    reduce: str = ""
    """How ranks are to be reduced: mean, sum, min, max; `synced` when the value already is; empty for mean."""
    epochs: Packed | None = None
    weights: Packed | None = None
    """Batch sizes, for the weighted mean over ranks."""
    automatic: bool = False
    """Recorded by tracelet itself (learning rates, machine), not logged by the user's program."""
    sources: Packed | None = None
    """After compaction: the number of the frame that each point stood in, so that cursors into the old file hold."""
    totals: Packed | None = None
    """With several ranks, for means that are not synced: the sums of value times batch size that `values` came from."""


class Points(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What one flush found: one chunk for each series that got points."""

    chunks: list[Chunk]


class Params(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Hyperparameters, flat: nested names are joined by `/`. A later record overrides an earlier one name by name."""

    time: Int64
    values: dict[str, Scalar]
    source: str = "user"
    """Who said so: user, module, trainer, optimizer, logger, ..."""
    fit: Int64 = 0
    """The fit that they belong to; 0 for what was given outside one."""
    place: str = ""
    """Identifies the statement of the program that gave them: executed again, it replaces what it gave before."""


class Tags(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Tags of the run; an empty string removes a tag."""

    time: Int64
    values: dict[str, str]


class Facts(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a collector found once: git, environment, model, ... A later record of the same topic replaces it."""

    time: Int64
    topic: str
    values: dict[str, Any]
    fit: Int64 = 0
    """The fit that they belong to; 0 for those of the run."""


class Event(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened at one moment (fit started, early stopping, ...)."""

    time: Int64
    name: str
    attributes: dict[str, Any] = {}
    span: Int64 = 0
    """The id of the span that it belongs to; 0 for none."""


class Artifact(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A file that belongs to the run: copied into the store (`digest` is set) or referred to where it is."""

    time: Int64
    name: str
    path: str
    kind: str = "file"
    """file, folder, checkpoint, ..."""
    size: int = 0
    digest: str = ""
    metadata: dict[str, Any] = {}


class Status(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How the process ended, or that it is running. `reason` is one line, `traceback` is Python's."""

    time: Int64
    status: str
    reason: str = ""
    traceback: str = ""
    expected: str = ""
    """With the status `running`: how the process is about to end (`preempted` after a SIGTERM), if it says no more."""
    about: str = ""
    """In a node's journal: the file name of the journal whose process the agent saw end."""


class Notice(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Something that the reader of a run ought to know about its record, such as points given up on a full disk."""

    time: Int64
    code: str
    message: str
    count: Int64 = 0


class Span(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of work with a beginning and an end, as OpenTelemetry has it. Written when it begins and when it ends."""

    id: Int64
    """Unique in its process, from 1."""
    name: str
    start_ns: Int64
    """Nanoseconds since the epoch."""
    duration_ns: Int64 = -1
    """-1 while it is open; a later record with the same id replaces the earlier one."""
    parent: Int64 = 0
    thread: Int64 = 0
    attributes: dict[str, Any] = {}
    error: str = ""
    """`Type: message` of the exception that ended it."""


class Spans(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Many finished spans as packed columns of `count` values each, ordered by their start."""

    count: Int64
    names: list[str]
    name_indexes: Packed
    ids: Packed
    parents: Packed
    """Each span's id less its parent's, plus one; 0 where there is no parent."""
    starts: Packed
    durations: Packed
    threads: Packed
    attributes: dict[int, dict[str, Any]] = {}
    """By place in the columns, for the few that have any."""


class Console(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Lines that the process printed, as a terminal showed them."""

    time: Int64
    """When the earliest of them began."""
    stream: str
    """stdout or stderr."""
    lines: list[tuple[int, int, str]]
    """(number of the line in its stream, microseconds after `time` at which it began, text).

    A line that comes again has changed (a progress bar); numbers that never come were left out, being too many.
    """


class Footer(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The index that sealing appends, so that a sealed journal is known after one read."""

    started: Started
    status: Status
    metrics: list[MetricSummary]
    params: dict[str, Scalar]
    tags: dict[str, str]
    frames: int
    """How many frames stand before this one."""
    others: list[tuple[int, int, int]]
    """(kind, number, offset) of every frame that holds neither points nor packed spans."""
    points: bytes
    """zlib of little-endian uint64 offsets of the frames that hold points."""
    compacted: bool = False
    """Whether `tracelet.journal.compaction` has rewritten the journal: it need not look again."""
    fits: list[FitMetrics] = []
    """One for each fit, and 0 for what was logged outside of all; empty for a journal of at most one fit."""


KINDS: dict[int, type[Record]] = {
    1: Started,
    2: Points,
    3: Params,
    4: Tags,
    5: Facts,
    6: Event,
    7: Artifact,
    8: Status,
    9: Notice,
    10: Span,
    11: Spans,
    12: Console,
    13: Media,
    14: MetricDefinition,
    255: Footer,
}
"""Frame kind to record type. Numbers are never used again for something else; 254 is the seal (see `journal`)."""

KIND_OF: dict[type[Record], int] = {record: kind for kind, record in KINDS.items()}
