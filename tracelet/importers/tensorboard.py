"""The `tensorboard` importer: each folder with event files is a run, as in TensorBoard.

Imports scalars in both forms, hyperparameters and texts. If a training resumed (`purge_step`), the earlier branch's
later steps are superseded, and stay as an earlier branch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tracelet.importers.base import Item, SourceRun
from tracelet.importers.event_files.reader import MARK, read


class TensorboardImporter:
    """Finds folders with event files."""

    name = "tensorboard"

    def find(self, path: Path) -> list[SourceRun]:
        """A run for each folder with event files, at any depth, named by its path below the given one."""
        if path.is_file():
            return [SourceRun(self.name, path, name=path.parent.name)] if MARK in path.name else []
        found: list[SourceRun] = []
        for folder, subfolders, files in os.walk(path):
            subfolders.sort()
            if any(MARK in name for name in files):
                below = Path(folder).relative_to(path).as_posix()
                found.append(SourceRun(self.name, Path(folder), name=path.name if below == "." else below))
        return found

    def read(self, run: SourceRun) -> Iterator[Item]:
        """All event files of the folder."""
        return read(run.path)
