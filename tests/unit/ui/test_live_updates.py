"""Pushes: who looks is told of what changes there, and nothing is looked at for nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tracelet
from tests.unit.ui import hostile
from tracelet.store.store import Store
from tracelet.ui import live_updates
from tracelet.ui.live_updates import LIST, LiveUpdates
from tracelet.ui.run_cache import Row, RunCache


class Counting(RunCache):
    """Remembers which runs were looked at."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.looked: list[str] = []

    def row(self, run_id: str) -> Row:
        """The row, and one look more."""
        self.looked.append(run_id)
        return super().row(run_id)


@pytest.fixture
def run_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    """Two runs, and looks that follow one another quickly."""
    monkeypatch.setattr(live_updates, "EVERY", 0.01)
    for name in ("a", "b"):
        hostile.write(tmp_path / "runs" / name, hostile.journal(hostile.RECORDS))
    return Counting(tracelet.open_store(tmp_path))


async def until(true: Callable[[], object]) -> None:
    """Wait for it, as long as a slow machine may take."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)


def more(run_cache: RunCache, name: str) -> None:
    """The run grows."""
    with open(run_cache.folder / name / "rank-0.0.tlj", "ab") as file:
        file.write(b"more")


def test_those_who_look_are_told_and_only_of_what_they_see(run_cache: Counting) -> None:
    """A page that shows one run is told when it grows, and not of another run; the other one is not even looked at."""

    async def story() -> list[str]:
        told: list[str] = []
        listener = told.extend
        followed = LiveUpdates(run_cache)
        followed.watch(listener, ["a"])
        await until(lambda: len(run_cache.looked) > 1)
        more(run_cache, "b")
        more(run_cache, "a")
        await until(lambda: told)
        followed.leave(listener)
        return told

    assert set(asyncio.run(story())) == {"a"}
    assert set(run_cache.looked) == {"a"}


def test_nothing_is_looked_at_for_nobody(run_cache: Counting) -> None:
    """When the last page is gone the store is left in peace; a page that comes later is followed again."""

    async def story() -> None:
        told: list[str] = []
        listener = told.extend
        followed = LiveUpdates(run_cache)
        followed.watch(listener, ["a"])
        await until(lambda: run_cache.looked)
        followed.leave(listener)
        await until(lambda: len(asyncio.all_tasks()) == 1)
        run_cache.looked.clear()
        more(run_cache, "a")
        await asyncio.sleep(0.1)
        assert run_cache.looked == []
        followed.watch(listener, ["a", LIST])
        await until(lambda: run_cache.looked)
        more(run_cache, "a")
        await until(lambda: "a" in told)
        followed.leave(listener)
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(story())
