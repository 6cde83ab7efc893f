"""Builds the `RunDescription` that a backend gets when it opens, from the current journals. Used by couriers.

Reads only, and needs no numpy.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from tracelet.agent.delivery.courier_state import CourierState
from tracelet.backends.base import RunDescription
from tracelet.errors import JournalError
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.records import KIND_OF, Facts, Params, Points, Record, Scalar, Spans, Started, Tags
from tracelet.journal.run_folder import SUFFIX
from tracelet.store import fit_params
from tracelet.store.artifacts import FOLDER as ARTIFACTS

BULKY = KIND_OF[Points], KIND_OF[Spans]


class _DescriptionBuilder:
    """The description of a run from its records: later ones override earlier ones, and rank 0 the others."""

    def __init__(self) -> None:
        self.first: Started | None = None
        self.last: Started | None = None
        self.params: dict[str, Scalar] = {}
        self.tags: dict[str, str] = {}
        self.facts: dict[str, dict[str, Any]] = {}

    def take(self, record: Record) -> None:
        if isinstance(record, Started) and record.role == "rank":
            self.first, self.last = self.first or record, record
        elif isinstance(record, Params):
            self.params.update(fit_params.delivered(record))
        elif isinstance(record, Tags):
            self.tags.update(record.values)
        elif isinstance(record, Facts):
            self.facts[record.topic] = record.values


def describe_run(folder: Path, state: CourierState) -> RunDescription:
    """The run in this folder, for the backend of this delivery. JournalError if no journal of rank 0 can be read."""
    known = _DescriptionBuilder()
    for path in sorted(folder.glob(f"rank-0.*{SUFFIX}"), key=_attempt) + sorted(folder.glob(f"node-*{SUFFIX}")):
        for frame in JournalReader(path).frames():
            if frame.kind not in BULKY:
                with suppress(JournalError):  # the batch reader reports unreadable journals when it reads them
                    known.take(frame.record())
    first, last = known.first, known.last
    if first is None or last is None:
        raise JournalError(f"{folder} has no readable journal of rank 0; there is nothing to deliver")
    return RunDescription(
        id=last.run, name=last.name, project=last.project, started=first.time / 1e6, command=tuple(last.command),
        folder=last.folder, host=last.host, params=known.params,
        tags={name: value for name, value in known.tags.items() if value}, git=known.facts.get("git", {}),
        environment=known.facts.get("environment", {}), artifacts_folder=folder / ARTIFACTS,
        memory=state.delivery.memory, remember=state.remember, announce=state.announce,
        renamed=state.renamed, found=state.found, repair=state.delivery.repairing,
    )  # fmt: skip


def _attempt(path: Path) -> int:
    number = path.name.removesuffix(SUFFIX).rpartition(".")[2]
    return int(number) if number.isdecimal() else 0
