"""Finds the records of a batch that a backend refuses, if the backend cannot identify them itself.

Used by the courier, on its thread, when the tries of a batch are used up. Bisects failing batches down to single
records, and delivers the rest of the batch on the way. Never retries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from tracelet.backends.base import Batch
from tracelet.errors import Misconfigured, Rejected, Unavailable, Unexplained

MOST_CALLS = 200
"""Maximum calls for one batch; records not isolated by then are set aside together with their neighbors."""
FIELDS = "params", "tags", "facts", "artifacts", "points", "events", "spans"
"""The fields of a batch, in the order in which they are tried. Events stay together, and so do spans: they form one
tree.
"""

Letter = tuple[list[Any], str]


class Isolation:
    """One search. `letters()` yields the refused records; `taken` says whether any were accepted."""

    def __init__(self, send: Callable[[Batch], None], describe: Callable[[Exception], str]) -> None:
        self._send = send
        self._describe = describe
        self._calls = 0
        self.taken = False

    def letters(self, batch: Batch, error: Exception) -> Iterator[Letter]:
        """The records of the batch that are refused with this error, and why. Raises `Unavailable` in an outage."""
        atoms = list(_atoms(batch))
        if len(atoms) < 2 or self._calls >= MOST_CALLS:
            yield [record for _, records in atoms for record in records], self._describe(error)
            return
        middle = len(atoms) // 2
        for part in (atoms[:middle], atoms[middle:]):
            half = _joined(batch, part)
            self._calls += 1
            try:
                self._send(half)
            except Rejected as refusal:
                self.taken = True
                yield refusal.records, refusal.why
            except Misconfigured:
                raise
            except Unavailable as outage:
                if not isinstance(outage, Unexplained):
                    raise
                yield from self.letters(half, outage)
            except Exception as other:
                yield from self.letters(half, other)
            else:
                self.taken = True


def records_of(batch: Batch) -> list[Any]:
    """All records of the batch, in the form of dead letters."""
    return [record for _, records in _atoms(batch) for record in records]


def _atoms(batch: Batch) -> Iterator[tuple[str, list[Any]]]:
    """The smallest parts that can be sent alone: the field, and the records in the form of dead letters."""
    for field in FIELDS:
        content = getattr(batch, field)
        if field in ("events", "spans"):
            if content:
                yield field, list(content)
        elif field in ("params", "tags", "facts"):
            yield from ((field, [{name: value}]) for name, value in content.items())
        else:
            yield from ((field, [record]) for record in content)


def _joined(batch: Batch, atoms: list[tuple[str, list[Any]]]) -> Batch:
    """The same batch with only these atoms, marked as a repeat."""
    held: dict[str, Any] = {field: {} if field in ("params", "tags", "facts") else [] for field in FIELDS}
    for field, records in atoms:
        if isinstance(held[field], dict):
            held[field].update(records[0])
        else:
            held[field] += records
    begun = batch.begun if held["spans"] or not batch.spans else ()
    return dataclasses.replace(batch, **held, begun=begun, again=True)
