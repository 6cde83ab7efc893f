"""The `mlflow` importer: runs in folders (`mlruns`) and in SQLite files. Does not read from servers.

Imports metrics with all their points, parameters, tags, the experiment as project, times, status and the parent's id;
artifacts are references to their present location. In a database the largest doubles represent infinities, and a flag
marks NaN.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tracelet.importers.base import Item, SourceRun
from tracelet.importers.mlflow import database, folders

META = "meta.yaml"
TRASH = ".trash"
"""Where a folder store keeps deleted experiments."""


class MlflowImporter:
    """Reads folder stores and SQLite databases."""

    name = "mlflow"

    def find(self, path: Path) -> list[SourceRun]:
        """The runs of every database and every folder store at or below the path, without deleted ones."""
        if path.is_file():
            return database.find(self.name, path)
        found: list[SourceRun] = []
        for folder, subfolders, files in os.walk(path):
            subfolders[:] = sorted(name for name in subfolders if name != TRASH)
            here = Path(folder)
            if META in files and folders.is_run(here):
                if not folders.is_deleted(here):
                    found.append(folders.source(self.name, here))
                subfolders.clear()
            else:
                for name in sorted(files):
                    if name.endswith((".db", ".sqlite", ".sqlite3")):
                        found += database.find(self.name, here / name)
        return found

    def read(self, run: SourceRun) -> Iterator[Item]:
        """The content of a run."""
        return database.read(run) if run.path.is_file() else folders.read(run)
