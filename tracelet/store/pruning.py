"""Marks a run that a sweep ended early, so that it is `pruned` and not killed or preempted. A small file, RUN/pruned.

Written by the sweep's controller before it stops the process, read by `Run`. A run that finished all the same is
finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tracelet.journal.records import FINISHED, PRUNED, RUNNING, Status
from tracelet.store.process_status import ProcessStatus
from tracelet.store.run_status import combined_status

FILE_NAME = "pruned"
MAX_BYTES = 1000


def mark_pruned(run_folder: Path, reason: str) -> None:
    """Say that the run is stopped for this reason. A run whose folder is gone needs no mark."""
    try:
        (run_folder / FILE_NAME).write_text(reason[:MAX_BYTES], encoding="utf-8")
    except OSError:
        return


def status_of(run_folder: Path, processes: Sequence[ProcessStatus]) -> Status:
    """The status of a run with these processes, with the reason of the sweep that stopped it, if one did."""
    if not processes:
        return Status(time=0, status="unreadable")
    status = combined_status(processes)
    if status.status in {RUNNING, FINISHED}:
        return status
    try:
        reason = (run_folder / FILE_NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return status
    return msgspec.structs.replace(status, status=PRUNED, reason=reason, traceback="")
