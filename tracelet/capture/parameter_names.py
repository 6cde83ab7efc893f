"""Which name a parameter gets when several sources give it: nothing overwrites what the user or another source gave.

Used by the writer, on its thread, for every `Params` record before it is written. What the user logged by name keeps
its name; among the others the first source keeps it. A different value of another source is kept as `SOURCE/NAME`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tracelet.journal.records import Params, Record, Scalar

FIRST = 1
"""The number of the first fit, with which parameters given before it are always in force."""
USER = "user"
"""The source of `log_params()` and of `start_logging(params=...)`."""


class ParameterNames:
    """The names that are taken, by whom, and with which value: in each fit, and outside of all (0)."""

    def __init__(self) -> None:
        self._taken: dict[int, dict[str, tuple[str, Scalar]]] = {}

    def settled(self, records: Iterable[Record]) -> list[Record]:
        """All records in their order, the parameters among them under the names that they get."""
        found: list[Record] = []
        for record in records:
            found += self._settle(record) if isinstance(record, Params) else [record]
        return found

    def _settle(self, record: Params) -> list[Params]:
        """The record, and a second one with what the user's values displace."""
        kept: dict[str, Scalar] = {}
        displaced: dict[str, dict[str, Scalar]] = {}
        taken = self._taken.setdefault(record.fit, {})
        outside = self._taken.setdefault(0, {})
        for name, value in record.values.items():
            source, before = taken.get(name) or outside.get(name, (record.source, None))
            if source == record.source:
                kept[name] = value
            elif record.source == USER:
                kept[name] = value
                if not same(before, value):
                    displaced.setdefault(source, {})[f"{source}/{name}"] = before
            elif not same(before, value):
                kept[f"{record.source}/{name}"] = value
                continue
            elif record.fit > FIRST and name not in taken:
                kept[name] = value  # what was given outside may not hold for this fit any more
            else:
                continue
            taken[name] = record.source, value
        found = [msgspec.structs.replace(record, values=kept)] if kept else []
        return found + [
            Params(time=record.time, values=values, source=name, fit=record.fit) for name, values in displaced.items()
        ]


def same(one: Scalar, other: Scalar) -> bool:
    """Whether two values are equal and of one type: `1 == True == 1.0`, and NaN differs from itself."""
    return type(one) is type(other) and repr(one) == repr(other)
