"""What an importer is: a plug-in that finds runs in a path and reads each as batches of points and records.

Called by `run_import` in a process of its own (`tracelet import`), on one thread. An importer never writes into its
source, keeps no state between two calls, and yields the points of a metric in the same order each time: that is how
importing again adds what is new and doubles nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Union

from tracelet.journal.records import Artifact, Console, Event, Facts, Notice, Params, Status, Tags

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray, IntArray


@dataclass(frozen=True)
class SourceRun:
    """One run that a path holds."""

    format: str
    path: Path
    """The file or folder that holds it."""
    key: str = ""
    """What tells it from the other runs in the same path, if there are several."""
    name: str = ""
    project: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PointBatch:
    """Consecutive points of one metric: int64[n] steps, float64[n] values, int64[n] microseconds since the epoch."""

    name: str
    steps: IntArray
    values: FloatArray
    times: IntArray


@dataclass(frozen=True)
class Resumed:
    """What follows was recorded by a training that resumed at this step: later points of before are superseded."""

    step: int


Item = Union[PointBatch, Resumed, Params, Tags, Facts, Event, Artifact, Console, Notice, Status]


class Importer(Protocol):
    """Reads one format."""

    name: str
    """As `--format` has it."""

    def find(self, path: Path) -> list[SourceRun]:
        """The runs that the file or folder holds, at any depth; empty when it holds none of this format."""

    def read(self, run: SourceRun) -> Iterator[Item]:
        """All of a run, in the order of its source. OSError or `ImportFailed` when it cannot be read.

        Damage that costs a part only is a `Notice` and the rest goes on.
        """


Options = dict[str, Any]
