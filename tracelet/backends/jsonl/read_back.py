"""The points in a file of JSON lines. Used by `tracelet verify`."""

from __future__ import annotations

import json
from collections import Counter

from tracelet.backends.artifact_files import resolve_path
from tracelet.backends.base import RunDescription, SeriesPart
from tracelet.backends.jsonl.backend import STDOUT, JsonlOptions
from tracelet.backends.remote_points import Point, RemotePoints, text
from tracelet.errors import Misconfigured


def remote_points(options: JsonlOptions, run: RunDescription) -> RemotePoints:
    """Every point of the run in the file. Misconfigured without a file."""
    path = resolve_path(run, options.path, "jsonl", f"{run.id}.jsonl")
    if options.path == STDOUT or not path.is_file():
        raise Misconfigured(f"{path} is not a file that can be read back", f"Type: tracelet sync {run.id}")
    series: dict[str, Counter[Point]] = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if f'"run":{json.dumps(run.id)},"kind":"point"' not in line or not line.endswith("\n"):
                continue
            point = json.loads(line)
            series.setdefault(point["name"], Counter())[point["step"], text(float(point["value"]))] += 1
    return RemotePoints(series, _place)


def _place(part: SeriesPart, step: int, value: float) -> tuple[str, Point]:
    return part.name, (step, text(value))
