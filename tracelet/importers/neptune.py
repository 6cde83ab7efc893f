"""The `neptune` importer: what neptune-exporter wrote, Parquet files with one row for each value. Needs pyarrow.

A folder has the files of a project, `RUN_part_0.parquet` and on; a run is complete once part 0 is there. Written to the
schema that the exporter publishes: Neptune's service has ended, and its files cannot be made any more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from tracelet.errors import ImportFailed
from tracelet.importers.base import Item, SourceRun
from tracelet.importers.point_columns import PointColumns
from tracelet.importers.timestamps import from_iso, modified
from tracelet.journal.records import Artifact, Console, Facts, Notice, Params, Scalar, Tags

FIRST = "_part_0.parquet"
PART = re.compile(r"_part_(\d+)\.parquet")
NEEDED = {"project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp", "float_value"}
PLAIN = ("float", "int", "string", "bool", "datetime", "string_set")
NAME, TAGS, SYSTEM = "sys/name", "sys/tags", "sys/"
BATCH_ROWS = 50_000

Row = dict[str, Any]


class NeptuneImporter:
    """Reads exported projects."""

    name = "neptune"

    def find(self, path: Path) -> list[SourceRun]:
        """A run for each first part."""
        if path.is_file():
            firsts = [path] if path.name.endswith(FIRST) else []
        else:
            firsts = sorted(path.rglob(f"*{FIRST}"))
        return [run for file in firsts if (run := self._source(file)) is not None]

    def _source(self, path: Path) -> SourceRun | None:
        prefix = path.name.removesuffix(FIRST)
        name, project, run = prefix, "", prefix
        with suppress(ImportFailed):  # reading the run says what is damaged, and others are imported
            if not set(_opened(path).schema_arrow.names) >= NEEDED:
                return None
            for row in _rows(path, ["project_id", "run_id", "attribute_path", "string_value"]):
                project, run = str(row["project_id"]), str(row["run_id"])
                if row["attribute_path"] == NAME and row["string_value"]:
                    name = str(row["string_value"])
                    break
        return SourceRun(self.name, path.parent, prefix, f"{name} ({run})" if name != run else run, project)

    def read(self, run: SourceRun) -> Iterator[Item]:
        """Parameters, series, texts and files of all parts."""
        parts = [path for path in run.path.glob("*.parquet") if path.name.startswith(f"{run.key}_part_")]
        parts.sort(key=lambda path: int(found[1]) if (found := PART.search(path.name)) else 0)
        reading = _Reading(modified(parts[0]) if parts else 0)
        for path in parts:
            for row in _rows(path, None):
                reading.take(row)
                yield from reading.points.full()
        yield from reading.rest()


def _opened(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportFailed(f"{path} needs pyarrow to be read. Type: pip install pyarrow") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ImportFailed(f"{path} cannot be read as Parquet: {error}") from None


def _rows(path: Path, columns: list[str] | None) -> Iterator[Row]:
    import pyarrow

    try:
        for batch in _opened(path).iter_batches(BATCH_ROWS, columns=columns):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ImportFailed(f"{path} is damaged: {error}") from None


class _Reading:
    """The state of reading a run."""

    def __init__(self, time: int) -> None:
        self.points = PointColumns()
        self._time = time
        """Of the first part, for what has no time of its own."""
        self._params: dict[str, Scalar] = {}
        self._system: dict[str, Any] = {}
        self._tags: dict[str, str] = {}
        self._texts: dict[str, list[str]] = {}
        self._files: dict[str, str] = {}
        self._skipped: Counter[str] = Counter()

    def take(self, row: Row) -> None:
        """One row."""
        name, kind = str(row["attribute_path"]), str(row["attribute_type"])
        if kind == "float_series" and row["float_value"] is not None:
            self.points.add(name, _step(row["step"]), row["float_value"], from_iso(row["timestamp"]) or 0)
        elif kind in PLAIN:
            self._plain(name, row.get(f"{kind}_value"))
        elif kind == "string_series":
            self._texts.setdefault(name, []).append(str(row.get("string_value") or ""))
        elif kind == "file":
            self._files[name] = str((row.get("file_value") or {}).get("path") or "")
        else:
            self._skipped[kind] += 1

    def _plain(self, name: str, value: Any) -> None:
        if name == TAGS:
            self._tags.update((str(tag), "true") for tag in value or ())
        elif name.startswith(SYSTEM):
            self._system[name] = value if isinstance(value, (str, int, float, bool)) else str(value)
        else:
            self._params[name] = value if isinstance(value, (str, int, float, bool)) else str(value)

    def rest(self) -> Iterator[Item]:
        """What is known when all rows were read."""
        yield from self.points.rest()
        time = self.points.earliest or self._time
        if self._params:
            yield Params(time=time, values=self._params, source="neptune")
        if self._tags:
            yield Tags(time=time, values=self._tags)
        if self._system:
            yield Facts(time=time, topic="neptune", values=self._system)
        for name, texts in sorted(self._texts.items()):
            stream = "stderr" if name.endswith("stderr") else "stdout"
            lines = [(number, 0, text.rstrip("\n")) for number, text in enumerate(texts)]
            yield Console(time=time, stream=stream, lines=lines)
        for name, path in sorted(self._files.items()):
            yield Artifact(time=time, name=name, path=path)
        yield from self.points.notices()
        for kind, count in sorted(self._skipped.items()):
            message = f"{count:,} values of kind {kind!r} are not imported"
            yield Notice(time=time, code="import", message=message, count=count)


def _step(step: object) -> float | None:
    """A decimal step as an integer if it is one."""
    if isinstance(step, Decimal):
        return int(step) if step == step.to_integral_value() else float(step)
    return step if isinstance(step, (int, float)) else None
