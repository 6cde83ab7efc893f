"""The `mlflow` importer: runs in folders (`mlruns`) and in SQLite files. Servers are asked by nobody here.

Metrics with all their points, parameters, tags, the experiment as project, times, state and the parent's id come over;
artifacts are referred to where they are. The largest doubles stand for infinities in a database, and a flag for NaN.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tracelet.importers.base import Item, SourceRun
from tracelet.importers.mlflow import database, folders

META = "meta.yaml"


class MlflowImporter:
    """Reads folder stores and SQLite databases."""

    name = "mlflow"

    def find(self, path: Path) -> list[SourceRun]:
        """The runs of every database and every folder store at or below the path."""
        if path.is_file():
            return database.find(self.name, path)
        found: list[SourceRun] = []
        for folder, subfolders, files in os.walk(path):
            subfolders.sort()
            here = Path(folder)
            if META in files and folders.is_run(here):
                found.append(folders.source(self.name, here))
                subfolders.clear()
            else:
                for name in sorted(files):
                    if name.endswith((".db", ".sqlite", ".sqlite3")):
                        found += database.find(self.name, here / name)
        return found

    def read(self, run: SourceRun) -> Iterator[Item]:
        """All of a run."""
        return database.read(run) if run.path.is_file() else folders.read(run)
