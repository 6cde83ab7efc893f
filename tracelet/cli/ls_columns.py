"""The columns of `tracelet ls`: the value that each one shows, and its title. Pure; one thread.

A name may be a field of every run, a parameter and a metric at once: a column is one of these.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tracelet.store.filtering import FIELDS, MISSING
from tracelet.store.search import Search

KINDS = {"params": "parameter", "metrics": "metric"}
"""The tables of a filter's namespace that columns can show, and the word for one entry of each."""


class Column(NamedTuple):
    """A field, or the entry of `table`, one of `KINDS`, under the name."""

    name: str
    table: str = ""

    def of(self, names: Mapping[str, Any]) -> Any:
        """The value in a run's namespace; MISSING without one."""
        return (names[self.table] if self.table else names).get(self.name, MISSING)


FIXED = tuple(Column(name) for name in ("id", "name", "project", "status", "started", "duration"))


def columns_named(name: str, namespaces: Iterable[Mapping[str, Any]]) -> list[Column]:
    """The columns of a bare name, interpreted as in a filter: a field, else in each run a parameter, else a metric."""
    if name in FIELDS:
        return [Column(name)]
    tables = {next((table for table in KINDS if name in names[table]), "") for names in namespaces}
    return [Column(name, table) for table in KINDS if table in tables]


def titles(columns: Sequence[Column]) -> list[str]:
    """The title of each column; columns with the same name also say their kind."""
    count = Counter(column.name for column in columns)
    return [
        f"{column.name} ({KINDS[column.table]})" if column.table and count[column.name] > 1 else column.name
        for column in columns
    ]


def sort_key(found: Any) -> tuple[int, float, str] | None:
    """Numbers before strings; None for a missing value or NaN."""
    if found is None or found is MISSING or found != found:
        return None
    return (0, float(found), "") if isinstance(found, (int, float)) else (1, 0.0, str(found))


def quoted_numbers(chosen: Search, namespaces: Sequence[Mapping[str, Any]]) -> list[str]:
    """The bare names in a filter that are compared with a string although they are numbers in every run
    that has them.
    """
    sides = [
        (node.left, *node.comparators)
        for each in chosen.filters
        for node in ast.walk(ast.parse(each.expression.strip(), mode="eval"))
        if isinstance(node, ast.Compare)
    ]
    beside = [side for side in sides if any(isinstance(of, ast.Constant) and isinstance(of.value, str) for of in side)]
    names = dict.fromkeys(of.id for side in beside for of in side if isinstance(of, ast.Name))
    kinds = {name: {type(found[name]) for found in namespaces if name in found} for name in names}
    return [name for name in names if kinds[name] and kinds[name] <= {int, float}]
