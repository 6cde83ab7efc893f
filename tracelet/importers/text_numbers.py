"""Numbers that a source holds as text. Pure."""

from __future__ import annotations

MISSING = frozenset({"", "null", "None", "NA", "N/A"})


def as_number(value: str) -> int | float | str:
    """The number that the string represents, if formatting that number yields the same string; else the string."""
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        if str(number) == value and abs(number) < 2**63:
            return number
    return value


def measured(cell: object) -> int | float | None:
    """The number in a cell of a table, `NaN` and infinities among them; None for everything else."""
    if isinstance(cell, (int, float)):
        return None if isinstance(cell, bool) else cell
    if not isinstance(cell, str):
        return None
    for kind in (int, float):
        try:
            return kind(cell) if "_" not in cell else None  # Python's 1_000 is no number elsewhere
        except ValueError:
            continue
    return None
