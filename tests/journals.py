"""Journals that tests write themselves: how they begin, what is in them, how they end. For tests of what reads them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tracelet.capture.packer import Packer
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import FINISHED, Footer, Points, Record, Started, Status
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact
from tracelet.store.pids import process_start

HOST = socket.gethostname()
ME = os.getpid()


def started(rank: int = 0, attempt: int = 0, **changes: object) -> Started:
    """The first record of a journal of this very process, unless told otherwise."""
    record = Started(
        run="r1", name="first", project="p", time=1_000_000 + attempt, host=HOST, pid=ME,
        process_started=process_start(ME), rank=rank, attempt=attempt, world_size=2,
    )  # fmt: skip
    return msgspec.structs.replace(record, **changes)


def points(name: str, values: Sequence[float], step: int = 0, second: float = 1.0) -> Points:
    """One flush of one metric, as the writer packs it."""
    (record,) = Packer().pack([(name, step + n, value, second + n) for n, value in enumerate(values)])
    assert isinstance(record, Points)
    return record


def write(folder: Path, first: Started, *records: Record) -> Path:
    """A journal of one process."""
    folder.mkdir(parents=True, exist_ok=True)
    journal = JournalWriter.create(journal_path(folder, f"rank-{first.rank}", first.attempt), redact)
    journal.append([first, *records])
    journal.close()
    return journal.path


def gone() -> int:
    """The id of a process that is no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def footer(journal: JournalWriter, started: Started, status: Status, **known: Any) -> Footer:
    """What a writer seals the journal with; `known` are its metrics, params and tags, if it has any."""
    return Footer(
        started=started, status=status, frames=journal.number, others=list(journal.others), points=journal.index(),
        **{"metrics": [], "params": {}, "tags": {}, **known},
    )  # fmt: skip


def finish(journal: JournalWriter, started: Started, time: int = 2, **known: Any) -> None:
    """End it as a process does that ends well."""
    status = Status(time=time, status=FINISHED)
    journal.append([status])
    journal.seal(footer(journal, started, status, **known))
    journal.close()
