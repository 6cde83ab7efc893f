"""Smoothing against its definition, point by point; and whether it depends on anything but the series."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.unit.ui.conftest import Record
from tracelet.ui.smoothing import KINDS, smoothed

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.normal(size=500).cumsum()
POSITIONS = np.sort(RANDOM.uniform(0, 1000, size=500))


def _slowly(values: list[float], kept: list[float]) -> list[float]:
    total = weight = 0.0
    found = []
    for value, share in zip(values, kept):
        total, weight = total * share + value, weight * share + 1
        found.append(total / weight)
    return found


def test_averages_are_what_their_definition_says() -> None:
    """The plain average keeps a share of the past per point, the other one per thousandth of the axis."""
    whole = POSITIONS[-1] - POSITIONS[0]
    ways = np.diff(POSITIONS, prepend=POSITIONS[0]) / whole * 1000
    assert smoothed(VALUES, POSITIONS, "ema", 0.9).tolist() == pytest.approx(_slowly(VALUES.tolist(), [0.9] * 500))
    assert smoothed(VALUES, POSITIONS, "time", 0.9).tolist() == pytest.approx(
        _slowly(VALUES.tolist(), (0.9**ways).tolist())
    )


def test_windows_are_what_their_definition_says() -> None:
    """A running mean of 5 points, and a Gaussian of 3, at each point; at the ends of what there is."""
    mean = [VALUES[max(0, at - 2) : at + 3].mean() for at in range(500)]
    assert smoothed(VALUES, POSITIONS, "mean", 5).tolist() == pytest.approx(mean)
    weights = [np.exp(-0.5 * ((np.arange(500) - at) / 3) ** 2) * (abs(np.arange(500) - at) <= 12) for at in range(500)]
    gaussian = [float((VALUES * weight).sum() / weight.sum()) for weight in weights]
    assert smoothed(VALUES, POSITIONS, "gaussian", 3).tolist() == pytest.approx(gaussian)


@pytest.mark.parametrize("kind", KINDS)
def test_gaps_and_extremes_survive(kind: str) -> None:
    """NaN and infinities stay where they are and touch no other point; the largest floats do not overflow."""
    values = np.array([1.0, math.nan, 1.0, math.inf, 1.0, -math.inf, 1.0])
    found = smoothed(values, np.arange(7.0), kind, 3 if kind in ("mean", "gaussian") else 0.5)
    assert np.array_equal(np.isfinite(found), np.isfinite(values))
    assert found[np.isfinite(found)].tolist() == pytest.approx([1.0] * 4)
    assert np.isfinite(smoothed(np.full(1000, 1.7e308), np.arange(1000.0), kind, 0.9)).all()
    assert smoothed(values[:1], np.zeros(1), kind, 0.5).tolist() == [1.0]


def test_a_smoothed_value_does_not_depend_on_the_width_of_the_chart(record: Record, client: TestClient) -> None:
    """The same point has the same smoothed value in a narrow chart, in a wide one, and zoomed in."""
    run = record("noisy", {"loss": VALUES.tolist() * 10})
    asked: dict[str, Any] = {"run": run.id, "name": "loss", "smooth": 0.97}
    found = [
        client.get("/api/series", params={**asked, **more}).json()["series"][0]
        for more in ({"points": 50}, {"points": 900}, {"from": 4000, "to": 4999, "points": 20_000})
    ]
    by_step = [dict(zip(one["steps"], one["smooth"])) for one in found]
    for other in by_step[1:]:
        shared = by_step[0].keys() & other.keys()
        assert len(shared) > 5
        assert [by_step[0][step] for step in shared] == [other[step] for step in shared]
    unknown = client.get("/api/series", params={**asked, "smoothing": "magic"})
    assert unknown.status_code == 422
