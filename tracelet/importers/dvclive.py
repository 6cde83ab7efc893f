"""The `dvclive` importer: folders that DVCLive wrote.

DVCLIVE/plots/metrics/NAME.tsv   step and value of each point, the time too if the program asked for it
DVCLIVE/metrics.json             latest values
DVCLIVE/params.yaml              parameters
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tracelet.capture.parameters import flatten
from tracelet.errors import ImportFailed
from tracelet.importers import yaml_file
from tracelet.importers.base import Item, SourceRun
from tracelet.importers.point_columns import PointColumns
from tracelet.importers.text_numbers import measured
from tracelet.importers.timestamps import from_millis, modified
from tracelet.journal.records import Artifact, Facts, Notice, Params

METRICS, SERIES = "metrics.json", Path("plots", "metrics")
PARAMS = "params.yaml"
FILES = ("plots/images", "plots/custom", "artifacts")
STEP, TIMESTAMP = "step", "timestamp"


class DvcliveImporter:
    """Reads the files of DVCLive."""

    name = "dvclive"

    def find(self, path: Path) -> list[SourceRun]:
        """A run for each folder with DVCLive's files."""
        found: list[SourceRun] = []
        for folder, subfolders, files in os.walk(path if path.is_dir() else ""):
            subfolders.sort()
            here = Path(folder)
            if (here / SERIES).is_dir() or (METRICS in files and PARAMS in files and "plots" in subfolders):
                name = here.relative_to(path).as_posix()
                found.append(SourceRun(self.name, here, name=here.name if name == "." else name))
                subfolders.clear()
        return found

    def read(self, run: SourceRun) -> Iterator[Item]:
        """Every point, the latest values, parameters, and other files by reference."""
        folder = run.path / SERIES
        undated = 0
        for path in sorted(folder.rglob("*.tsv")):
            points = PointColumns()
            undated += _add(points, path, path.relative_to(folder).with_suffix("").as_posix())
            yield from points.rest()
            yield from points.notices()
        yield from _values(run.path)
        if undated:
            message = f"{undated:,} points have no time; they have that of their file"
            yield Notice(time=modified(folder), code="import", message=message, count=undated)
        for file in sorted(one for name in FILES for one in (run.path / name).rglob("*") if one.is_file()):
            name = file.relative_to(run.path).as_posix()
            yield Artifact(time=modified(file), name=name, path=str(file), size=file.stat().st_size)


def _add(points: PointColumns, path: Path, name: str) -> int:
    """Add the points of a file; returns how many have no time. A line that is being written is left for later."""
    undated = 0
    file_time = modified(path)
    with open(path, encoding="utf-8", errors="replace") as file:
        header = file.readline().rstrip("\n").split("\t")
        dated = TIMESTAMP in header[:-1]
        for line in file:
            if not line.endswith("\n"):
                break
            row = dict(zip(header[:-1], line[:-1].split("\t")))
            value = measured(line[:-1].rpartition("\t")[2])
            if value is None or STEP not in row:
                raise ImportFailed(f"{path} has a line that is not step and value: {line[:80]!r}")
            time = from_millis(measured(row.get(TIMESTAMP))) if dated else file_time
            undated += not dated
            points.add(name, measured(row[STEP]), value, time)
    return undated


def _values(folder: Path) -> Iterator[Item]:
    if (path := folder / METRICS).is_file():
        try:
            latest = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # it is rewritten at every step
            latest = None
        if isinstance(latest, dict):
            yield Facts(time=modified(path), topic="summary", values=dict(flatten(latest)))
    if (path := folder / PARAMS).is_file():
        params = yaml_file.loaded(path)
        if isinstance(params, dict) and params:
            yield Params(time=modified(path), values=flatten(params), source="dvclive")
