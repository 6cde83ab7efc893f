"""Prints a run of an Aim repository as JSON lines: `python -m tracelet.importers.aim.reading FOLDER HASH`.

Run by the importer as a process of its own: Aim starts threads, and damaged data may crash it. Aim writes an index
into the repository, so the folder has to be a copy.
"""

from __future__ import annotations

import json
import sys
from typing import Any

POINTS_AT_ONCE = 50_000
OTHERS = ("images", "texts", "distributions", "audios", "figures")


def main(folder: str, key: str) -> None:
    """Print parameters, points by series, and the rest; a line is a JSON object."""
    from aim.sdk.repo import Repo
    from aim.sdk.run import Run

    repo: Any = Repo.from_path(folder)
    repo._recreate_index()
    run: Any = Run(key, repo=repo, read_only=True)
    _say(params={name: value for name, value in run[...].items() if not name.startswith("__")}, time=run.creation_time)
    for metric in run.metrics():
        steps, (values, _, times) = metric.data.items_list()
        points = sorted(zip(times, steps, values), key=lambda point: point[0])
        for start in range(0, len(points), POINTS_AT_ONCE):
            part = points[start : start + POINTS_AT_ONCE]
            _say(name=metric.name, context=metric.context.to_dict(), points=part)
    others = run.collect_sequence_info(OTHERS)
    _say(ended=run.end_time, others={kind: len(found) for kind, found in others.items() if found})


def _say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values, default=str) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
