"""Checks for authors of importers: what every importer must do with a source of its format.

A check raises `AssertionError`. Under pytest, with a small source of your format:

    @pytest.mark.parametrize("check", ImporterConformance.CHECKS)
    def test_mine(check, source, tmp_path):
        ImporterConformance(MyImporter(), source, folder=tmp_path).run(check)
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tracelet.errors import ImportFailed
from tracelet.importers.base import Importer, Item, PointBatch, SourceRun
from tracelet.importers.run_import import Failure, find, import_runs
from tracelet.importers.run_writer import Written
from tracelet.store.run import Run
from tracelet.store.store import Store

SEED = 20_261_130
DAMAGES = 12
"""Damaged copies of each file that are read."""
LARGEST_DAMAGED = 10_000_000
"""Bytes of a source up to which copies of it are damaged."""

Points = dict[tuple[str, str, int], list[tuple[int, str, int]]]
"""By run, metric and branch: step, value as text, microseconds."""


class ImporterConformance:
    """Exercises an importer with a source that has at least one run with points. The source is only read."""

    CHECKS: ClassVar[tuple[str, ...]] = (
        "finds", "same_order", "types", "imports", "again", "interrupted", "foreign", "damaged",
    )  # fmt: skip

    def __init__(self, importer: Importer, source: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
        self.importer, self.source, self.folder = importer, Path(source), Path(folder)

    def run(self, check: str) -> None:
        """Run one of `CHECKS`, which must leave the source as it was."""
        before = _content(self.source)
        getattr(self, f"check_{check}")()
        assert _content(self.source) == before, f"{check} changed the source"

    def check_finds(self) -> None:
        """The runs are found, twice the same ones, with the importer's name and different identities."""
        first, again = self.importer.find(self.source), self.importer.find(self.source)
        assert first, f"no run in {self.source}"
        assert first == again, "a second look finds other runs"
        assert {run.format for run in first} == {self.importer.name}, "a run has the name of another format"
        assert len({(run.path, run.key) for run in first}) == len(first), "two runs have the same path and key"
        assert all(run.path.exists() for run in first), "a run has a path that does not exist"

    def check_same_order(self) -> None:
        """The points of a metric come in the same order each time, so that known ones can be skipped."""
        runs = self.importer.find(self.source)
        first, again = (_points(self.importer, runs) for _ in range(2))
        assert first, "the source has no points"
        assert first == again, "a second reading gives other points"

    def check_types(self) -> None:
        """Columns of a batch are as long as each other, 64 bits wide, and not empty."""
        for run in self.importer.find(self.source):
            for item in self.importer.read(run):
                if isinstance(item, PointBatch):
                    columns = (item.steps, item.values, item.times)
                    assert [str(one.dtype) for one in columns] == ["int64", "float64", "int64"], item.name
                    assert len({len(one) for one in columns}) == 1, f"columns of {item.name} differ in length"
                    assert len(item.values), f"an empty batch of {item.name}"

    def check_imports(self) -> None:
        """Every run becomes one of the store, with every point that the importer gives."""
        stored = self._imported("store")
        read = sum(len(points) for points in _points(self.importer, self.importer.find(self.source)).values())
        assert sum(one.points for one in stored) == read, "the store has other points than the importer gave"

    def check_again(self) -> None:
        """Importing again adds neither points nor records."""
        self._imported("store")
        again = self._imported("store")
        added = [one for one in again if one.points or one.records]
        assert not added, f"importing again added {added}"

    def check_interrupted(self) -> None:
        """An import that was cut off anywhere and is repeated gives the same run as one that was not."""
        whole = _stored(self.folder / "whole", self._imported("whole"))
        for place in (1, 2, 5, 20):
            store = self.folder / f"interrupted-{place}"
            importers = {self.importer.name: _Interrupted(self.importer, place)}
            outcomes = list(import_runs(self.importer.find(self.source), importers, store))
            assert all(isinstance(one, Failure) or one.run for one in outcomes)
            found = _stored(store, self._imported(store.name))
            assert found == whole, f"after an interruption at item {place} the store has other points"

    def check_foreign(self) -> None:
        """A folder and files of something else hold no run and raise nothing."""
        other = self.folder / "foreign"
        other.mkdir(exist_ok=True)
        (other / "notes.txt").write_text("step,loss\n", encoding="utf-8")
        (other / "empty").write_bytes(b"")
        (other / "data.bin").write_bytes(random.Random(SEED).randbytes(2_000))
        for path in (other, *sorted(other.iterdir())):
            assert self.importer.find(path) == [], f"runs in {path.name}"

    def check_damaged(self) -> None:
        """Of a source with damaged or shortened files there are runs, or `ImportFailed` or OSError; nothing else."""
        files = sorted(_content(self.source))
        if sum(len(data) for data in _content(self.source).values()) > LARGEST_DAMAGED:
            return
        chance = random.Random(SEED)
        for place in range(DAMAGES):
            copy = self.folder / f"damaged-{place}" / self.source.name
            copy.parent.mkdir()
            shutil.copytree(self.source, copy) if self.source.is_dir() else shutil.copyfile(self.source, copy)
            for name in files if place % 2 else [chance.choice(files)]:
                _damage(copy / name if self.source.is_dir() else copy, chance)
            try:
                for run in self.importer.find(copy):
                    for _ in self.importer.read(run):
                        pass
            except (ImportFailed, OSError):
                pass
            shutil.rmtree(copy.parent)

    def _imported(self, store: str) -> list[Written]:
        importers = {self.importer.name: self.importer}
        runs = find([self.source], importers, self.importer.name)
        outcomes = list(import_runs(runs, importers, self.folder / store))
        failures = [one for one in outcomes if isinstance(one, Failure)]
        assert not failures, failures
        return [one for one in outcomes if isinstance(one, Written)]


class _Interrupted:
    """An importer whose reading fails after some items."""

    def __init__(self, importer: Importer, items: int) -> None:
        self.name, self.find = importer.name, importer.find
        self._importer, self._items = importer, items

    def read(self, run: SourceRun) -> Iterator[Item]:
        for place, item in enumerate(self._importer.read(run)):
            if place == self._items:
                raise OSError("interrupted")
            yield item


def _points(importer: Importer, runs: list[SourceRun]) -> Points:
    found: Points = {}
    for run in runs:
        for item in importer.read(run):
            if isinstance(item, PointBatch):
                rows = zip(item.steps.tolist(), map(repr, item.values.tolist()), item.times.tolist())
                found.setdefault((f"{run.path}:{run.key}", item.name, 0), []).extend(rows)
    return found


def _stored(store: Path, written: list[Written]) -> Points:
    found: Points = {}
    for one in written:
        run: Run = Store.open(store).run(one.run)
        for name in run.metrics():
            series = run.series(name)
            times = [round(time * 1e6) for time in series.times.tolist()]
            found[one.run, name, 0] = list(zip(series.steps.tolist(), map(repr, series.values.tolist()), times))
    return found


def _content(path: Path) -> dict[str, bytes]:
    """Every file at or below the path by its relative name, with its bytes."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def _damage(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if not data:
        return
    if chance.random() < 0.5:
        del data[chance.randrange(len(data)) :]
    for _ in range(4 if data else 0):
        data[chance.randrange(len(data))] = chance.randrange(256)
    path.write_bytes(data)
