"""The points in an offline session of ClearML. Used by `tracelet verify`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tracelet.backends.base import RunDescription, SeriesPart
from tracelet.backends.clearml.backend import ClearmlOptions
from tracelet.backends.clearml.scalar_events import event_identities, event_place
from tracelet.backends.remote_points import Point, RemotePoints, text
from tracelet.errors import Misconfigured


def remote_points(options: ClearmlOptions, run: RunDescription) -> RemotePoints:
    """Every scalar of the session. Misconfigured for an online task."""
    folder = Path(options.dir or run.store / "clearml").expanduser()
    folder = (folder if folder.is_absolute() else Path(run.folder) / folder) / "offline" / str(run.memory.get("task"))
    if options.mode != "offline" or not folder.is_dir():
        raise Misconfigured(
            f"there is no offline session of this run ({folder})", "Only sessions of the mode offline can be read back"
        )
    series: dict[str, Counter[Point]] = {}
    for (title, variant, step, _, value), count in event_identities(folder).items():
        series.setdefault(f"{title} / {variant}", Counter())[step, text(float(value))] += count
    return RemotePoints(series, _place)


def _place(part: SeriesPart, step: int, value: float) -> tuple[str, Point]:
    title, variant, shown = event_place(part, value)
    return f"{title} / {variant}", (step, text(shown))
