"""The `aim` importer: repositories of Aim, `.aim`. Needs the package aim, whose files are its secret.

The runs and their names come from Aim's SQLite file. The data of one run at a time is copied into a temporary folder,
where Aim reads it in a process of its own. Aim keeps one value for each step of a series, the last one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracelet.capture.parameters import flatten
from tracelet.errors import ImportFailed
from tracelet.importers.aim import reading
from tracelet.importers.base import Item, SourceRun
from tracelet.importers.point_columns import PointColumns
from tracelet.importers.sqlite_file import opened, tables
from tracelet.importers.timestamps import from_seconds
from tracelet.journal.records import FINISHED, KILLED, Notice, Params, Status

REPOSITORY, DATABASE, ROOMS = ".aim", "run_metadata.sqlite", ("meta", "seqs")
QUERY = (
    "select run.hash, run.name, experiment.name from run left join experiment on experiment.id = run.experiment_id"
    " where not coalesce(run.is_archived, 0) order by run.id"
)
TAGS = (
    "select tag.name from tag join run_tag on tag.id = run_tag.tag_id join run on run.id = run_tag.run_id"
    " where run.hash = ? order by tag.name"
)


class AimImporter:
    """Reads repositories of Aim with Aim."""

    name = "aim"

    def find(self, path: Path) -> list[SourceRun]:
        """The runs of every repository at or below the path that are not archived."""
        found: list[SourceRun] = []
        for folder, subfolders, files in os.walk(path if path.is_dir() else ""):
            subfolders.sort()
            here = Path(folder)
            if DATABASE in files and (here / "meta" / "chunks").is_dir():
                found += self._runs(here)
                subfolders.clear()
        return found

    def _runs(self, repository: Path) -> Iterator[SourceRun]:
        with opened(repository / DATABASE) as database:
            if not tables(database) >= {"run", "experiment", "tag", "run_tag"}:
                return
            for run, name, experiment in database.execute(QUERY).fetchall():
                if (repository / "meta" / "chunks" / run).is_dir():
                    tags = {tag: "true" for (tag,) in database.execute(TAGS, (run,))}
                    yield SourceRun(self.name, repository, run, name or run, experiment or "", tags)

    def read(self, run: SourceRun) -> Iterator[Item]:
        """Parameters, every series in the order of its times, and the end."""
        points, taken = PointColumns(), dict[str, tuple[str, str]]()
        with _copied(run) as folder:
            for line in _lines(run, folder):
                if "params" in line:
                    yield from _params(line)
                elif "points" in line:
                    name = _title(line["name"], line["context"], taken)
                    for time, step, value in line["points"]:
                        points.add(name, step, value, from_seconds(time))
                    yield from points.full()
                else:
                    yield from points.rest()
                    yield from points.notices()
                    yield from _rest(line, points.latest)


@contextmanager
def _copied(run: SourceRun) -> Iterator[Path]:
    """A repository that holds a copy of the run's data alone."""
    with tempfile.TemporaryDirectory(prefix="tracelet-import-") as folder:
        copy = Path(folder) / REPOSITORY
        for room in ROOMS:
            data = run.path / room / "chunks" / run.key
            if data.is_dir():
                shutil.copytree(data, copy / room / "chunks" / run.key)
        for file in (one for one in run.path.iterdir() if one.is_file()):
            shutil.copyfile(file, copy / file.name)
        yield Path(folder)


def _lines(run: SourceRun, folder: Path) -> Iterator[dict[str, Any]]:
    """What the program that reads with Aim prints. ImportFailed if it ends with an error."""
    if importlib.util.find_spec("aim") is None:
        raise ImportFailed(f"{run.path} needs Aim to be read. Type: pip install aim")
    command = [sys.executable, "-W", "ignore", "-m", reading.__name__, str(folder), run.key]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield json.loads(line)
            code = process.wait()
        finally:
            process.kill()
        if code:
            errors.seek(0)
            reason = errors.read().decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {code}"
            raise ImportFailed(f"Aim cannot read the run {run.key} of {run.path}: {reason}")


def _params(line: dict[str, Any]) -> Iterator[Item]:
    if line["params"]:
        yield Params(time=from_seconds(line["time"]), values=flatten(line["params"]), source="aim")


def _rest(line: dict[str, Any], latest: int) -> Iterator[Item]:
    for kind, count in line["others"].items():
        yield Notice(time=latest, code="import", message=f"{count:,} sequences of {kind} are not imported", count=count)
    ended = from_seconds(line["ended"])
    reason = "" if ended else "the source has no end"
    yield Status(time=ended or latest, status=FINISHED if ended else KILLED, reason=reason)


def _title(name: str, context: dict[str, Any], taken: dict[str, tuple[str, str]]) -> str:
    """A name for a series and its context, different for each: Aim's `subset` is what others put before a `/`."""
    told = json.dumps(context, sort_keys=True)
    candidates = [f"{name} {told}"] if context else [name]
    if set(context) == {"subset"}:
        candidates.insert(0, f"{context['subset']}/{name}")
    return next(one for one in (*candidates, f"{name} {told}") if taken.setdefault(one, (name, told)) == (name, told))
