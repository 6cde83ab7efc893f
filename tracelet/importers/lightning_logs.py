"""The `lightning` importer: folders that Lightning's loggers wrote (`lightning_logs/version_0`), one run each.

Reads `metrics.csv`, `hparams.yaml`, event files and checkpoints (by reference) together. A metric in both event files
and table is read from the event files, which have its times. The table has none: its points get the time at which it
was last written.
"""

from __future__ import annotations

import csv
import os
from array import array
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tracelet.capture.parameters import flatten
from tracelet.errors import ImportFailed
from tracelet.importers import yaml_file
from tracelet.importers.base import Item, PointBatch, SourceRun
from tracelet.importers.event_files.reader import MARK
from tracelet.importers.event_files.reader import read as read_event_files
from tracelet.importers.text_numbers import measured
from tracelet.journal.records import Artifact, Notice, Params

TABLE, HPARAMS, CHECKPOINTS = "metrics.csv", "hparams.yaml", "checkpoints"
STEP = "step"
MICRO = 1e6


class LightningImporter:
    """Reads the folders of CSVLogger and TensorBoardLogger."""

    name = "lightning"

    def find(self, path: Path) -> list[SourceRun]:
        """A run for each folder with a table of metrics, or with hyperparameters beside event files."""
        found: list[SourceRun] = []
        if path.is_dir():
            for folder, subfolders, files in os.walk(path):
                subfolders.sort()
                events = any(MARK in name for name in files)
                if TABLE in files or (HPARAMS in files and events):
                    here = Path(folder)
                    name = here.name if here == path else here.relative_to(path).as_posix()
                    found.append(SourceRun(self.name, here, name=name))
                    subfolders.clear()
        return found

    def read(self, run: SourceRun) -> Iterator[Item]:
        """Hyperparameters, event files, the table, and the folder of checkpoints."""
        folder = run.path
        yield from _hyperparameters(folder / HPARAMS)
        known: set[str] = set()
        for item in read_event_files(folder):
            if isinstance(item, PointBatch):
                known.add(item.name)
            yield item
        yield from _table(folder / TABLE, known)
        yield from _checkpoints(folder / CHECKPOINTS)


def _hyperparameters(path: Path) -> Iterator[Item]:
    if not path.is_file():
        return
    time = _modified(path)
    values = yaml_file.loaded(path)
    if isinstance(values, dict) and values:
        yield Params(time=time, values=flatten(values), source="module")


def _table(path: Path, known: set[str]) -> Iterator[Item]:
    """The numeric columns, without empty cells."""
    import numpy as np

    if not path.is_file():
        return
    time = _modified(path)
    steps: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
    values: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        try:
            for place, row in enumerate(csv.DictReader(file)):
                step = measured(row.get(STEP))
                whole = int(step) if step is not None and abs(step) < 2**63 else place
                for name, cell in row.items():
                    number = _number(cell) if isinstance(name, str) and name != STEP and name not in known else None
                    if number is not None:
                        steps[name].append(whole)
                        values[name].append(number)
        except csv.Error as error:
            raise ImportFailed(f"{path} cannot be read as CSV: {error}") from None
    for name, column in values.items():
        times = np.full(len(column), time, dtype=np.int64)
        yield PointBatch(name, np.array(steps[name], dtype=np.int64), np.array(column, dtype=np.float64), times)
    if values:
        yield Notice(time=time, code="import", message=f"{path.name} has no times; its points have that of the file")


def _number(cell: object) -> float | None:
    try:
        return float(cell) if isinstance(cell, str) and cell else None
    except ValueError:
        return None


def _checkpoints(folder: Path) -> Iterator[Item]:
    if folder.is_dir():
        for path in sorted(folder.rglob("*.ckpt")):
            size = path.stat().st_size
            yield Artifact(time=_modified(path), name=path.name, path=str(path), kind="checkpoint", size=size)


def _modified(path: Path) -> int:
    return int(path.stat().st_mtime * MICRO)
