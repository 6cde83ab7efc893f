"""The points in the offline files of a run of Weights & Biases. Used by `tracelet verify`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tracelet.backends.base import RunDescription, SeriesPart
from tracelet.backends.remote_points import Point, RemotePoints, text
from tracelet.backends.wandb.history_rows import Row, column
from tracelet.backends.wandb.offline_file import OfflineFile
from tracelet.backends.wandb.options import WandbOptions
from tracelet.errors import Misconfigured


def remote_points(options: WandbOptions, run: RunDescription) -> RemotePoints:
    """Every point of the run's files. Misconfigured for an online run."""
    if options.mode != "offline":
        raise Misconfigured(
            "what Weights & Biases has online cannot be read back",
            "Verify runs with the mode offline, or other backends",
        )
    folder = Path(options.dir or run.store).expanduser()
    folder = folder if folder.is_absolute() else Path(run.folder) / folder
    rows: dict[int, Row] = {}
    for path in sorted(folder.glob(f"wandb/*run-*-{run.id}/run-{run.id}.wandb")):
        rows.update(OfflineFile(path).rows())  # a row that is in two files has the same number: it is sent once
    axis = options.step_axis
    series: dict[str, Counter[Point]] = {}
    for row in rows.values():
        step = int(row[axis]) if axis in row else 0
        for name, value in row.items():
            if not name.startswith("_") and name != axis:
                series.setdefault(name, Counter())[step, text(float(value))] += 1

    def place(part: SeriesPart, step: int, value: float) -> tuple[str, Point]:
        return column(part.name, axis), (0 if part.system else step, text(value))

    return RemotePoints(series, place)
