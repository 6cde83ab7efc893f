"""File names in a store: the folder of its runs, and the journals in the folder of a run.

Used by whoever makes or finds a journal, in any process.
"""

from __future__ import annotations

import os
from pathlib import Path

from tracelet.journal.journal_writer import JournalWriter, Redact

RUNS = "runs"
SUFFIX = ".tlj"


def ignore_in_git(root: Path) -> None:
    """Have git overlook the store. Raises OSError."""
    ignore = root / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="ascii")


def journal_path(folder: Path, stem: str, attempt: int) -> Path:
    """Where the journal of one process stands: `rank-0.0.tlj` for the first process of rank 0, `rank-0.1.tlj` ..."""
    return folder / f"{stem}.{attempt}{SUFFIX}"


def create_journal(folder: Path, stem: str, redact: Redact) -> tuple[JournalWriter, int]:
    """A new journal with this stem, and the number of its attempt: the first free one. `redact`: see `JournalWriter`.

    Raises OSError.
    """
    attempt = 0
    while True:
        try:
            return JournalWriter.create(journal_path(folder, stem, attempt), redact), attempt
        except FileExistsError:
            attempt += 1


def journal_paths(run_folder: Path) -> list[Path]:
    """The journals of a run, by name; none if the run was deleted meanwhile."""
    try:
        return [run_folder / name for name in sorted(os.listdir(run_folder)) if name.endswith(SUFFIX)]
    except (FileNotFoundError, NotADirectoryError):
        return []
