"""Curves and matrices of a classifier as tables with a view: precision-recall, ROC, confusion.

Labels and scores are copied on the program's thread; the table is computed on the recorder's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from tracelet.errors import InvalidMedia
from tracelet.journal.media_record import TABLE
from tracelet.media import arrays, arrow_file
from tracelet.media.content_folder import ContentFolder
from tracelet.media.media_value import Encoded, MediaValue, Snapshot

if TYPE_CHECKING:
    import numpy

MAX_POINTS = 1000
"""Of one curve: more than a page has pixels. The thresholds are quantiles of the scores."""
PR_CURVE, ROC_CURVE, CONFUSION_MATRIX = "pr_curve", "roc_curve", "confusion_matrix"


class _Classified(MediaValue):
    """Truth and predictions of the same length."""

    kind: ClassVar[str] = TABLE
    view: ClassVar[str] = ""

    def __init__(self, truth: Any, predicted: Any, caption: str = "", names: Sequence[str] | None = None) -> None:
        super().__init__(caption)
        import numpy

        self._truth, self._predicted = (
            found if arrays.is_array(found) else numpy.asarray(found) for found in (truth, predicted)
        )
        self._names = None if names is None else [str(name) for name in names]
        lengths = [arrays.shape_of(found) for found in (self._truth, self._predicted)]
        if lengths[0] != lengths[1] or len(lengths[0]) != 1 or not lengths[0][0]:
            raise InvalidMedia(f"labels and predictions have the shapes {lengths[0]} and {lengths[1]}; expected (n,)")

    def snapshot(self, folder: ContentFolder) -> Snapshot:
        """Copies of both."""
        arrow_file.require()
        return _Predictions(self.view, arrays.copied(self._truth), arrays.copied(self._predicted), self._names)


class PRCurve(_Classified):
    """Precision over recall. `truth`: 0 or 1 for each example; `predicted`: the score of the class 1."""

    view: ClassVar[str] = PR_CURVE


class ROCCurve(_Classified):
    """True over false positives. `truth`: 0 or 1 for each example; `predicted`: the score of the class 1."""

    view: ClassVar[str] = ROC_CURVE


class ConfusionMatrix(_Classified):
    """How often each class was predicted as each other. Both: class numbers from 0; `names`: the classes' names."""

    view: ClassVar[str] = CONFUSION_MATRIX


@dataclass(frozen=True)
class _Predictions:
    """Copies of truth and predictions, on their device."""

    view: str
    truth: Any
    predicted: Any
    names: list[str] | None

    @property
    def nbytes(self) -> int:
        return arrays.size_in_memory(self.truth) + arrays.size_in_memory(self.predicted)

    def encode(self) -> Encoded:
        truth, predicted = arrays.to_numpy(self.truth), arrays.to_numpy(self.predicted)
        columns = (
            confusion(truth, predicted, self.names) if self.view == CONFUSION_MATRIX
            else curve(self.view, truth, predicted)
        )  # fmt: skip
        content, extra = arrow_file.encode_columns(columns)
        return replace(Encoded(TABLE, "arrow", content), extra={**extra, "view": self.view})


def curve(view: str, truth: numpy.ndarray[Any, Any], scores: numpy.ndarray[Any, Any]) -> dict[str, list[float]]:
    """The points of a curve by falling threshold: an example counts as positive if its score is at least that."""
    import numpy

    if not numpy.isfinite(scores).all():
        raise InvalidMedia("a score is not finite")
    positive = truth.astype(numpy.float64) > 0
    order = numpy.argsort(-scores, kind="stable")
    ranked, hits = scores[order], numpy.cumsum(positive[order])
    ends = numpy.flatnonzero(numpy.append(numpy.diff(ranked) != 0, True))  # equal scores fall together
    if ends.size > MAX_POINTS:
        ends = ends[numpy.linspace(0, ends.size - 1, MAX_POINTS).round().astype(int)]
    true, chosen = hits[ends].astype(float), ends + 1.0
    positives, negatives = float(positive.sum()), float((~positive).sum())
    recall = true / positives if positives else numpy.full(len(ends), numpy.nan)
    threshold = {"threshold": ranked[ends].astype(float).tolist()}
    if view == PR_CURVE:
        return {**threshold, "recall": recall.tolist(), "precision": (true / chosen).tolist()}
    rate = (chosen - true) / negatives if negatives else numpy.full(len(ends), numpy.nan)
    return {**threshold, "false_positive_rate": rate.tolist(), "true_positive_rate": recall.tolist()}


def confusion(
    truth: numpy.ndarray[Any, Any], predicted: numpy.ndarray[Any, Any], names: Sequence[str] | None
) -> dict[str, list[Any]]:
    """A row for each true class and each predicted one, with the number of examples."""
    import numpy

    if truth.dtype.kind not in "biu" or predicted.dtype.kind not in "biu" or min(truth.min(), predicted.min()) < 0:
        raise InvalidMedia("classes must be integers from 0; for logits: ConfusionMatrix(labels, logits.argmax(-1))")
    count = max(int(max(truth.max(), predicted.max())) + 1, len(names or ()))
    if count * count > 1_000_000:
        raise InvalidMedia(f"a confusion matrix of {count:,} classes has more than a million cells")
    cells = numpy.bincount(truth.astype(numpy.int64) * count + predicted.astype(numpy.int64), minlength=count * count)
    named = [(names[number] if names and number < len(names) else str(number)) for number in range(count)]
    return {
        "actual": [name for name in named for _ in named],
        "predicted": [name for _ in named for name in named],
        "count": cells.tolist(),
    }
