"""Times of equal points in MLflow."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tracelet.backends.mlflow.timestamps import UniqueTimestamps


def stamped(points: list[tuple[int, float]], sizes: list[int]) -> list[int]:
    """The stamps of (step, time) points that come in batches of these sizes, by a new object for each batch."""
    memory: dict[str, Any] = {}
    found: list[int] = []
    batch: list[int] = []
    place = 0
    for number, size in enumerate(sizes):
        for _ in range(2):  # every batch comes twice
            stamps = UniqueTimestamps(memory)
            stamps.begin(f"b{number}")
            batch = [stamps.stamp("loss", step, "0.5", time) for step, time in points[place : place + size]]
            memory = stamps.memory()
        found += batch
        place += size
    return found


@pytest.mark.parametrize("seed", range(5))
def test_stamps_are_unique_and_do_not_depend_on_batches(seed: int) -> None:
    """However a series is cut into batches, and although each comes twice, its equal points have the same own times."""
    dice = random.Random(seed)
    time, points = 1_700_000_000.0, []
    for _ in range(4001):
        time += dice.choice([0, 0, 0.0001, 0.0004, 0.002])
        points.append((dice.choice([0, 0, 0, 1]), time))
    once = stamped(points, [4001])
    sizes = [1000, 1, 999, 1500, 501]
    assert stamped(points, sizes) == once
    assert len(set(zip((step for step, _ in points), once))) == 4001


def test_a_point_on_its_own_keeps_its_time() -> None:
    """Only equal points are moved."""
    assert stamped([(step, 1.0) for step in range(5)], [5]) == [1000] * 5


def test_what_is_remembered_stays_small() -> None:
    """A long series of different steps leaves a handful of entries, whatever its length."""
    stamps = UniqueTimestamps()
    for number in range(50):
        stamps.begin(f"b{number}")
        for step in range(100):
            stamps.stamp("loss", number * 100 + step, "0.5", 1000.0 + number + step / 1000)
    memory = stamps.memory()
    assert len(memory["after"]) + len(memory["before"]) < 10
