"""The points in the event files of a run. Used by `tracelet verify`."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

from tracelet.backends.base import RunDescription, SeriesPart
from tracelet.backends.remote_points import Point, RemotePoints, text
from tracelet.backends.tensorboard.backend import PREFIX, TensorboardOptions, identities
from tracelet.errors import Misconfigured


def remote_points(_options: TensorboardOptions, run: RunDescription) -> RemotePoints:
    """Every scalar of the run's folder. Misconfigured if nothing was delivered."""
    folder = run.memory.get("folder")
    if not folder or not Path(folder).is_dir():
        raise Misconfigured(
            f"there are no event files of this run ({folder or 'nothing was delivered'})",
            f"Type: tracelet sync {run.id} --backend tensorboard",
        )
    series: dict[str, Counter[Point]] = {}
    for path in sorted(Path(folder).glob(f"{PREFIX}*")):
        for tag, step, _, value in identities(path):
            series.setdefault(tag, Counter())[step, text(struct.unpack("<f", value)[0])] += 1
    return RemotePoints(series, _place)


def _place(part: SeriesPart, step: int, value: float) -> tuple[str, Point]:
    try:
        single = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        single = float("inf") if value > 0 else float("-inf")
    return part.name, (step, text(single))
