"""The hyperparameters of all processes of a run as one table, and who gave each of them.

Used by `Run` on the reading side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracelet.journal.journal_view import JournalView
from tracelet.journal.records import Params, Scalar

USER = "user"
"""The source of what the program gave by name, which no other source overrides."""


def merged(views: Sequence[JournalView]) -> dict[str, Scalar]:
    """Values by name; what later journals say wins, and names stay in the order in which they came."""
    found: dict[str, Scalar] = {}
    for view in reversed(views):
        found = {**view.params, **found}
    return found


def sources(views: Iterable[JournalView]) -> dict[str, str]:
    """`user`, `argparse`, `hydra`, `module`, `trainer`, ..., by name."""
    found: dict[str, str] = {}
    for record in (record for view in views for record in view.records(Params)):
        for name in record.values:
            if record.source == USER or name not in found:
                found[name] = record.source
    return found
