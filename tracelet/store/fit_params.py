"""Which parameters each fit of a process had: its own, and what the program had given before it outside of any fit.

Used by `Fit` and `Run` on the reading side; pure. What the program gives outside of fits holds for the fits after it,
until the same statement gives it again, or another one of the same source that is no mere update: a fit never has the
momentum of an earlier trial beside the betas of its own. What a framework tells of a trainer or a model outside of fits
holds for the next fit alone, because a fit tells its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tracelet.journal.fit_events import begun_fit
from tracelet.journal.records import Event, Params, Record, Scalar

FRAMEWORK = frozenset({"trainer", "module", "datamodule", "model", "data", "optimizer", "fabric"})
"""Sources that describe the objects of one fit."""
LATER_TRAINER = re.compile(r"trainer/\d+/")
"""Names for the run of what a second trainer differs in: its fits have the plain names."""


class Given(NamedTuple):
    """A parameter, and who gave it."""

    value: Scalar
    source: str


Table = dict[str, Given]


@dataclass
class _Call:
    """Parameters given at once outside of any fit, and how many fits had begun by then."""

    record: Params
    begun: int

    def is_repeated_by(self, later: _Call) -> bool:
        """Whether a fit has used it, and the same statement speaks again."""
        mine, others = self.record, later.record
        return (
            self.begun < later.begun and bool(mine.place) and (mine.source, mine.place) == (others.source, others.place)
        )

    def is_replaced_by(self, later: _Call) -> bool:
        """Whether a fit has used it, and another statement says the like with other names: it is no mere update."""
        mine, others = self.record, later.record
        names = others.values.keys()
        like = mine.source == others.source and not names.isdisjoint(mine.values)
        return self.begun < later.begun and like and not names <= mine.values.keys()


@dataclass
class FitParams:
    """The parameters of one process of a run."""

    fits: dict[int, Table] = field(default_factory=dict)
    """By the number of the fit, in the order of their beginnings."""
    outside: Table = field(default_factory=dict)
    """What was given outside of fits and after the last one began: of the run, and of no fit."""


def by_fit(records: Iterable[Record]) -> FitParams:
    """The parameters of each fit, out of one journal's records in their order."""
    standing: list[_Call] = []
    found = FitParams()
    for record in records:
        if isinstance(record, Event) and (number := begun_fit(record)) and number not in found.fits:
            block = record.attributes.get("block")
            found.fits[number] = _inherited(standing, len(found.fits))
            if isinstance(block, int) and block in found.fits:
                found.fits[number].update(_of_program(found.fits[block]))
        elif isinstance(record, Params) and record.fit:
            _add(found.fits.setdefault(record.fit, {}), record)
        elif isinstance(record, Params):
            call = _Call(record, len(found.fits))
            repeated = [one for one in standing if one.is_repeated_by(call)]
            replaced = repeated or [one for one in standing if one.is_replaced_by(call)]
            standing = [one for one in standing if one not in replaced]
            standing.append(call)
    for call in standing:
        if call.begun == len(found.fits):
            _add(found.outside, call.record)
    return found


def _inherited(standing: Iterable[_Call], begun: int) -> Table:
    table: Table = {}
    for call in standing:
        if call.record.source not in FRAMEWORK or call.begun == begun:
            _add(table, call.record)
    return {name: given for name, given in table.items() if not LATER_TRAINER.match(name)}


def _of_program(table: Table) -> Table:
    return {name: given for name, given in table.items() if given.source not in FRAMEWORK}


def _add(table: Table, record: Params) -> None:
    for name, value in record.values.items():
        table[name] = Given(value, record.source)


def common(tables: Iterable[Mapping[str, Given]]) -> Table:
    """What all fits had alike."""
    first, *others = tables
    return {
        name: given
        for name, given in first.items()
        if all(name in other and _same(other[name].value, given.value) for other in others)
    }


def _same(one: Scalar, other: Scalar) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


def delivered(record: Params) -> dict[str, Scalar]:
    """Parameters for a backend, which has one table for the run: those of later fits have the fit in their names."""
    if record.fit <= 1:
        return record.values
    return {f"fit/{record.fit}/{name}": value for name, value in record.values.items()}


def values_of(table: Table) -> dict[str, Scalar]:
    """The values by name."""
    return {name: given.value for name, given in table.items()}


def sources_of(table: Table) -> dict[str, str]:
    """Who gave each of them, by name."""
    return {name: given.source for name, given in table.items()}
