"""Where things lie in a store: the folder of its runs, and the journals in the folder of a run.

Used by whoever makes or finds a journal, in any process.
"""

from __future__ import annotations

from pathlib import Path

from tracelet.journal.journal_writer import Journal, Redact

RUNS = "runs"
SUFFIX = ".tlj"


def ignore_in_git(root: Path) -> None:
    """Have git overlook the store. Raises OSError."""
    ignore = root / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="ascii")


def attempt_path(folder: Path, stem: str, attempt: int) -> Path:
    """Where the journal of one process stands: `rank-0.0.tlj` for the first process of rank 0, `rank-0.1.tlj` ..."""
    return folder / f"{stem}.{attempt}{SUFFIX}"


def create_next(folder: Path, stem: str, redact: Redact) -> tuple[Journal, int]:
    """A new journal of this stem, and the number of its attempt: the first not taken. `redact` as `Journal` has it.

    Raises OSError.
    """
    attempt = 0
    while True:
        try:
            return Journal.create(attempt_path(folder, stem, attempt), redact), attempt
        except FileExistsError:
            attempt += 1
