"""One run in a folder store of MLflow: `EXPERIMENT/RUN/{meta.yaml,metrics,params,tags,artifacts}`. Reads only.

A line of a metric's file is `timestamp value step`, with a fourth field in a logged model. Times are milliseconds since
the epoch.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

from tracelet.importers.base import Item, PointBatch, SourceRun
from tracelet.importers.mlflow.statuses import DELETED, MILLI, facts
from tracelet.journal.records import Artifact, Notice

META = "meta.yaml"


def is_run(folder: Path) -> bool:
    """Whether the folder is that of a run, and not of an experiment or a model."""
    return "run_id" in meta(folder) or "run_uuid" in meta(folder)


def is_deleted(folder: Path) -> bool:
    """Whether the run of the folder was deleted, and may be restored."""
    return meta(folder).get("lifecycle_stage") == DELETED


def meta(folder: Path) -> dict[str, str]:
    """The flat metadata file of a run or an experiment: names to strings."""
    found: dict[str, str] = {}
    path = folder / META
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, mark, value = line.partition(": ")
            if mark and not name.startswith((" ", "-")):
                found[name] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == "'":
        return value[1:-1].replace("''", "'")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return value[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")
    return "" if value in ("null", "~") else value


def source(format: str, folder: Path) -> SourceRun:
    """The run of a folder; its project is the experiment's name."""
    known = meta(folder)
    name = known.get("run_name") or known.get("run_id", folder.name)
    return SourceRun(format, folder, name=name, project=meta(folder.parent).get("name", ""))


def read(run: SourceRun) -> Iterator[Item]:
    """The content of the run, metrics in the order of their names."""
    folder, known = run.path, meta(run.path)
    started = _whole(known.get("start_time", "")) or int(folder.stat().st_mtime * 1000)
    params, tags = _texts(folder / "params"), _texts(folder / "tags")
    rest = list(facts(params, tags, started, _whole(known.get("end_time", "")), known.get("status", "")))
    yield from rest[:-1]
    for path in _files(folder / "metrics"):
        yield from _series(path.relative_to(folder / "metrics").as_posix(), path)
    for path in _files(folder / "artifacts"):
        name = path.relative_to(folder / "artifacts").as_posix()
        stat = path.stat()
        yield Artifact(time=int(stat.st_mtime * 1e6), name=name, path=str(path), size=stat.st_size)
    yield rest[-1]


def _series(name: str, path: Path) -> Iterator[Item]:
    import numpy as np

    steps, values, times = array("q"), array("d"), array("q")
    damaged = 0
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            parts = line.split()
            try:
                time, value, step = int(parts[0]), float(parts[1]), int(parts[2]) if len(parts) > 2 else 0
                if not line.endswith("\n"):
                    continue  # it is being written
                array("q", [step, time * MILLI])
            except (ValueError, IndexError, OverflowError):
                damaged += 1
                continue
            steps.append(step)
            values.append(value)
            times.append(time * MILLI)
    if values:
        whole = np.array(steps, dtype=np.int64), np.array(times, dtype=np.int64)
        yield PointBatch(name, whole[0], np.array(values, dtype=np.float64), whole[1])
    if damaged:
        yield Notice(time=0, code="import", message=f"{damaged:,} lines of the metric {name!r} cannot be read")


def _texts(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in _files(folder)
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def _whole(value: str) -> int | None:
    try:
        return int(value)
    except ValueError:
        return None
