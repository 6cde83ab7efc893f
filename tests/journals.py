"""Journals that tests write themselves: how they end. For tests of what reads them."""

from __future__ import annotations

from typing import Any

from tracelet.journal import Journal
from tracelet.records import FINISHED, Footer, Started, Status


def footer(journal: Journal, started: Started, status: Status, **known: Any) -> Footer:
    """What a writer seals the journal with; `known` are its metrics, params and tags, if it has any."""
    return Footer(
        started=started, status=status, frames=journal.number, others=list(journal.others), points=journal.index(),
        **{"metrics": [], "params": {}, "tags": {}, **known},
    )  # fmt: skip


def finish(journal: Journal, started: Started, time: int = 2, **known: Any) -> None:
    """End it as a process does that ends well."""
    status = Status(time=time, status=FINISHED)
    journal.append([status])
    journal.seal(footer(journal, started, status, **known))
    journal.close()
