"""Converts MLflow's statuses, tags and times into ours. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tracelet.importers.base import Item
from tracelet.importers.text_numbers import as_number
from tracelet.journal.records import FAILED, FINISHED, KILLED, RUNNING, Params, Status, Tags

MILLI = 1000
STATUSES = {
    "1": RUNNING, "2": RUNNING, "3": FINISHED, "4": FAILED, "5": KILLED,
    "RUNNING": RUNNING, "SCHEDULED": RUNNING, "FINISHED": FINISHED, "FAILED": FAILED, "KILLED": KILLED,
}  # fmt: skip
"""By the number in folders and the name in databases."""
PARENT, OWN = "mlflow.parentRunId", "mlflow."
DELETED = "deleted"
"""The `lifecycle_stage` of a run that was deleted, and may be restored."""
NO_END = "it was running when it was imported, or was never ended"


def facts(
    params: Mapping[str, str], tags: Mapping[str, str], started: int, ended: int | None, status: str
) -> Iterator[Item]:
    """Parameters, tags and status; times in ms since the epoch. Of MLflow's own tags only the parent is imported."""
    time = started * MILLI
    if params:
        yield Params(time=time, values={name: as_number(value) for name, value in params.items()})
    kept = {name: value for name, value in tags.items() if not name.startswith(OWN)}
    if PARENT in tags:
        kept["parent"] = tags[PARENT]
    if kept:
        yield Tags(time=time, values=kept)
    known = STATUSES.get(status, KILLED)
    if known == RUNNING:
        yield Status(time=time, status=KILLED, reason=NO_END)
    else:
        yield Status(time=(ended or started) * MILLI, status=known)
