"""The columns of `tracelet ls`: which quantity of a run each of them is, and how it is called. Pure; one thread.

A name may be a field of every run, a parameter and a metric at once: a column is one of these.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tracelet.store.filtering import FIELDS, MISSING, Filter

KINDS = {"params": "parameter", "metrics": "metric"}
"""The tables of a filter's namespace that columns are of, and what one entry of them is."""


class Column(NamedTuple):
    """A field, or what `table`, one of `KINDS`, has under the name."""

    name: str
    table: str = ""

    def of(self, names: Mapping[str, Any]) -> Any:
        """The value in a run's namespace; MISSING where it has none."""
        return (names[self.table] if self.table else names).get(self.name, MISSING)


FIXED = tuple(Column(name) for name in ("id", "name", "project", "status", "started", "duration"))


def columns_named(name: str, namespaces: Iterable[Mapping[str, Any]]) -> list[Column]:
    """What a bare name is in these runs, as a filter takes it: a field, else in each run a parameter, else a metric."""
    if name in FIELDS:
        return [Column(name)]
    tables = {next((table for table in KINDS if name in names[table]), "") for names in namespaces}
    return [Column(name, table) for table in KINDS if table in tables]


def titles(columns: Sequence[Column]) -> list[str]:
    """The name of each column; those that share one say what they are."""
    count = Counter(column.name for column in columns)
    return [
        f"{column.name} ({KINDS[column.table]})" if column.table and count[column.name] > 1 else column.name
        for column in columns
    ]


def sort_key(found: Any) -> tuple[int, float, str] | None:
    """Numbers before texts; None for what is missing or NaN."""
    if found is None or found is MISSING or found != found:
        return None
    return (0, float(found), "") if isinstance(found, (int, float)) else (1, 0.0, str(found))


def quoted_numbers(chosen: Filter, namespaces: Sequence[Mapping[str, Any]]) -> list[str]:
    """The bare names in a filter that stand beside a text although they are numbers in every run that has them."""
    sides = [
        (node.left, *node.comparators)
        for node in ast.walk(ast.parse(chosen.expression.strip(), mode="eval"))
        if isinstance(node, ast.Compare)
    ]
    beside = [side for side in sides if any(isinstance(of, ast.Constant) and isinstance(of.value, str) for of in side)]
    names = dict.fromkeys(of.id for side in beside for of in side if isinstance(of, ast.Name))
    kinds = {name: {type(found[name]) for found in namespaces if name in found} for name in names}
    return [name for name in names if kinds[name] and kinds[name] <= {int, float}]
