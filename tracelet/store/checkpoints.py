"""Which of several checkpoints is the best: by the score of the metric that was monitored when each was written.

Used by `Fit` and the command line on the reading side. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracelet.journal.records import Artifact


def best_of(checkpoints: Sequence[Artifact]) -> Artifact | None:
    """The best checkpoint of one fit: the last one that was the best when it was written."""
    return next((artifact for artifact in reversed(checkpoints) if artifact.metadata.get("best")), None)


def best_overall(best: Sequence[Artifact]) -> Artifact | None:
    """The best among the best of each fit; None if they were not judged by one metric, in one direction."""
    judged = [(artifact, score) for artifact in best if (score := _score(artifact)) is not None]
    ways = {(artifact.metadata.get("monitor"), artifact.metadata.get("mode")) for artifact, _ in judged}
    if len(judged) < len(best) or len(ways) != 1 or not judged:
        return None
    lowest = next(iter(ways))[1] == "min"
    return (min if lowest else max)(judged, key=lambda pair: pair[1])[0]


def _score(artifact: Artifact) -> float | None:
    score, mode = artifact.metadata.get("score"), artifact.metadata.get("mode")
    known = isinstance(score, (int, float)) and not isinstance(score, bool) and score == score
    return float(score) if known and mode in ("min", "max") and isinstance(score, (int, float)) else None
