"""The points of a run in an Aim repository. Used by `tracelet verify`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tracelet.backends.aim.backend import AimOptions, repository
from tracelet.backends.base import RunDescription, SeriesPart
from tracelet.backends.remote_points import Point, RemotePoints, text
from tracelet.errors import Misconfigured


def remote_points(options: AimOptions, run: RunDescription) -> RemotePoints:
    """Every point of the run. Misconfigured if nothing was delivered."""
    known = run.memory.get("hash")
    if not known:
        raise Misconfigured("nothing was delivered to Aim", f"Type: tracelet sync {run.id} --backend aim")
    try:
        from aim.sdk.repo import Repo
        from aim.sdk.run import Run
    except ImportError as error:
        raise Misconfigured(f"Aim cannot be imported ({error})", "Install it where tracelet is installed") from error
    repo: Any = Repo.from_path(repository(options, run))
    repo._recreate_index()  # data of another process is visible only in a new index
    found: Any = Run(known, repo=repo, read_only=True)
    series: dict[str, Counter[Point]] = {}
    for metric in found.metrics():
        steps, (values, *_) = metric.data.items_list()
        points = Counter((int(step), text(float(value))) for step, value in zip(steps, values))
        series.setdefault(metric.name, Counter()).update(points)
    return RemotePoints(series, _place)


def _place(part: SeriesPart, step: int, value: float) -> tuple[str, Point]:
    return part.name, (step, text(value))
