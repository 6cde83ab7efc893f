"""Imports the runs of some paths into a store: finds the format, reads run by run, and reports progress.

Called by `tracelet import`, on its main thread. A run that cannot be read affects no other; its imported part stays,
and importing again resumes there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tracelet.errors import ImportFailed
from tracelet.importers.base import Importer, SourceRun
from tracelet.importers.run_writer import RunWriter, Written
from tracelet.journal.run_folder import RUNS
from tracelet.store.run_ids import short_id

PROJECT = "imported"
"""The project of runs whose source has none."""

Progress = Callable[[SourceRun, int], None]
"""Called when a run begins, and with the number of points read since the last call."""


@dataclass(frozen=True)
class Failure:
    """A run that could not be read completely."""

    run: SourceRun
    reason: str


def find(paths: Sequence[Path], importers: Mapping[str, Importer], format: str | None = None) -> list[SourceRun]:
    """The runs in these paths. ImportFailed for a missing path, or one without a run of a known format."""
    chosen = [importers[format]] if format else list(importers.values())
    found: list[SourceRun] = []
    for path in paths:
        if not path.exists():
            raise ImportFailed(f"{path} does not exist. Name a file or folder that another tracker wrote")
        here = _first_found(path.absolute(), chosen)
        if not here:
            known = ", ".join(importers)
            what = f"no run in the format {format!r}" if format else "no run in a known format"
            raise ImportFailed(f"{path} holds {what}. Formats: {known}; choose one with --format")
        found += here
    return found


def _first_found(path: Path, importers: Sequence[Importer]) -> list[SourceRun]:
    """The importers' results. If two recognize the same folder, the first one gets it."""
    found: list[SourceRun] = []
    taken: list[Path] = []
    for importer in importers:
        runs = [run for run in importer.find(path) if not any(_within(run.path, one) for one in taken)]
        found += runs
        taken += [run.path for run in runs]
    return found


def _within(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def run_id(run: SourceRun) -> str:
    """The id that the run has in every store, derived from its source's location."""
    return short_id(f"import:{run.format}:{os.path.realpath(run.path)}:{run.key}")


def import_runs(
    runs: Sequence[SourceRun],
    importers: Mapping[str, Importer],
    store: Path,
    project: str | None = None,
    progress: Progress = lambda run, points: None,
) -> Iterator[Written | Failure]:
    """Import each run into the store, one after the other."""
    for run in runs:
        yield _import_run(run, importers[run.format], store, project, progress)


def _import_run(
    run: SourceRun, importer: Importer, store: Path, project: str | None, progress: Progress
) -> Written | Failure:
    target = RunWriter(store / RUNS / run_id(run), run, project or run.project or PROJECT)
    progress(run, 0)
    try:
        before = 0
        for item in importer.read(run):
            target.take(item)
            progress(run, target.read - before)
            before = target.read
        return target.close()
    except (OSError, ImportFailed) as error:
        return Failure(run, str(error))
    finally:
        with suppress(OSError):
            target.abandon()
