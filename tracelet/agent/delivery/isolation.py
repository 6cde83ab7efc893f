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

MAX_CALLS = 200
"""Maximum calls for one batch; records not isolated by then are set aside together with their neighbors."""
FIELDS = "params", "tags", "facts", "artifacts", "points", "events", "spans"
"""The fields of a batch, in the order in which they are tried. Events stay together, and so do spans: they form one
tree.
"""

Refusal = tuple[list[Any], str]


class Isolation:
    """One search. `refusals()` yields the refused records; `accepted` says whether others were accepted."""

    def __init__(self, send: Callable[[Batch], None], describe: Callable[[Exception], str]) -> None:
        self._send = send
        self._describe = describe
        self._calls = 0
        self.accepted = False

    def refusals(self, batch: Batch, error: Exception) -> Iterator[Refusal]:
        """The records of the batch that are refused with this error, and why. Raises `Unavailable` in an outage."""
        pieces = list(_pieces(batch))
        if len(pieces) < 2 or self._calls >= MAX_CALLS:
            yield [record for _, records in pieces for record in records], self._describe(error)
            return
        middle = len(pieces) // 2
        for chosen in (pieces[:middle], pieces[middle:]):
            half = _with_only(batch, chosen)
            self._calls += 1
            try:
                self._send(half)
            except Rejected as rejection:
                self.accepted = True
                yield rejection.records, rejection.why
            except Misconfigured:
                raise
            except Unavailable as outage:
                if not isinstance(outage, Unexplained):
                    raise
                yield from self.refusals(half, outage)
            except Exception as other:
                yield from self.refusals(half, other)
            else:
                self.accepted = True


def records_of(batch: Batch) -> list[Any]:
    """All records of the batch, in the form of dead letters."""
    return [record for _, records in _pieces(batch) for record in records]


def _pieces(batch: Batch) -> Iterator[tuple[str, list[Any]]]:
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


def _with_only(batch: Batch, pieces: list[tuple[str, list[Any]]]) -> Batch:
    """The same batch with only these pieces, marked as a repeat."""
    held: dict[str, Any] = {field: {} if field in ("params", "tags", "facts") else [] for field in FIELDS}
    for field, records in pieces:
        if isinstance(held[field], dict):
            held[field].update(records[0])
        else:
            held[field] += records
    begun = batch.begun if held["spans"] or not batch.spans else ()
    return dataclasses.replace(batch, **held, begun=begun, again=True)
