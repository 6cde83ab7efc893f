"""The importer interface: a plug-in that finds runs in a path and reads each as batches of points and records.

Called by `run_import` in a process of its own (`tracelet import`), on one thread. An importer never writes to its
source, keeps no state between two calls, and yields the points of a metric in the same order each time, so that
importing again adds what is new and duplicates nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Union

from tracelet.journal.records import Artifact, Console, Event, Facts, Notice, Params, Span, Status, Tags

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray, IntArray


@dataclass(frozen=True)
class SourceRun:
    """One run in a path."""

    format: str
    path: Path
    """The file or folder with the run."""
    key: str = ""
    """Distinguishes it from other runs in the same path, if there are several."""
    name: str = ""
    project: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    note: str = ""
    """What the importer assumes about the source; shown before anything is imported."""


@dataclass(frozen=True)
class PointBatch:
    """Consecutive points of one metric: int64[n] steps, float64[n] values, int64[n] microseconds since the epoch."""

    name: str
    steps: IntArray
    values: FloatArray
    times: IntArray


@dataclass(frozen=True)
class Resumed:
    """A resumed training recorded what follows, starting at this step: earlier points from that step on are
    superseded.
    """

    step: int


Item = Union[PointBatch, Resumed, Params, Tags, Facts, Event, Span, Artifact, Console, Notice, Status]


class Importer(Protocol):
    """Reads one format."""

    name: str
    """Its name for `--format`."""

    def find(self, path: Path) -> list[SourceRun]:
        """The runs in the file or folder, at any depth; empty if it has none of this format."""

    def read(self, run: SourceRun) -> Iterator[Item]:
        """The content of a run, in the order of its source. OSError or `ImportFailed` if it cannot be read.

        Partial damage yields a `Notice`, and the rest is read.
        """
