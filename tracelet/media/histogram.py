"""`tracelet.Histogram`: the distribution of an array's values, or counts and edges that the program computed.

Values are copied on the program's thread and binned on the recorder's. Counts and edges are recorded exactly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Union

from tracelet.errors import InvalidMedia
from tracelet.journal.media_record import HISTOGRAM
from tracelet.media import arrays
from tracelet.media.content_folder import ContentFolder
from tracelet.media.media_value import Encoded, MediaValue, Ready, Snapshot

if TYPE_CHECKING:
    import numpy

BINS = 64
MAX_HALVES = 2**52
"""Integers below have floats halfway between them."""
MAX_BINS = 1024
"""Beyond that nobody sees a bin, and every step would cost as much as a picture."""


class Bins(NamedTuple):
    """A recorded histogram: n counts (int64, or float64 for weights) and n + 1 edges (float64)."""

    counts: numpy.ndarray[Any, Any]
    edges: numpy.ndarray[Any, Any]


class Histogram(MediaValue):
    """`values`: an array of any shape, binned into `bins` bins of equal width, or between the given edges.

    Integers that span fewer values than `bins` get one bin each. Instead of values: `counts` and their `edges`.
    """

    kind: ClassVar[str] = HISTOGRAM

    def __init__(
        self, values: Any = None, caption: str = "", *, bins: Union[int, Sequence[float]] = BINS, counts: Any = None,
        edges: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(caption)
        if (values is None) == (counts is None) or (counts is None) != (edges is None):
            raise InvalidMedia("a histogram has either values, or counts and edges; e.g. Histogram(weights)")
        if isinstance(bins, int) and not 1 <= bins <= MAX_BINS:
            raise InvalidMedia(f"bins is {bins}; expected 1 to {MAX_BINS}, or the edges")
        if values is not None and not arrays.is_array(values):
            import numpy

            values = numpy.asarray(values)
        self._values = values
        self._bins = bins if isinstance(bins, int) else _edges(bins)
        self._given = None if counts is None else _checked(counts, edges)

    def snapshot(self, folder: ContentFolder) -> Snapshot:
        """A copy of the values."""
        if self._given is not None:
            return Ready(_encoded(self._given, {}))
        return _Values(arrays.copied(self._values), self._bins)


@dataclass(frozen=True)
class _Values:
    """A copy of an array, on its device."""

    array: Any
    bins: Any

    @property
    def nbytes(self) -> int:
        return arrays.size_in_memory(self.array)

    def encode(self) -> Encoded:
        import numpy

        values = arrays.to_numpy(self.array).ravel()
        kind = values.dtype.kind
        values = values.astype(numpy.int64 if kind in "bi" else numpy.float64)
        finite = values[numpy.isfinite(values)]
        extra: dict[str, Any] = {"values": int(values.size)}
        if finite.size < values.size:
            extra["nan"] = int(numpy.isnan(values).sum())
            extra["infinite"] = int(values.size - finite.size - extra["nan"])
        if finite.size:
            extra |= {"min": float(finite.min()), "max": float(finite.max()), "mean": float(finite.mean())}
        return _encoded(_binned(finite, self.bins), extra)


def decode(content: bytes) -> Bins:
    """A recorded histogram. Raises `InvalidMedia`."""
    import numpy

    try:
        found = json.loads(content)
        counts, edges = numpy.array(found["counts"]), numpy.array(found["edges"], dtype=numpy.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidMedia(f"the histogram is damaged: {error}") from None
    if counts.ndim != 1 or edges.shape != (counts.size + 1,) or counts.dtype.kind not in "if":
        raise InvalidMedia("the histogram is damaged: its counts do not match its edges")
    return Bins(counts, edges)


def _binned(values: numpy.ndarray[Any, Any], bins: Any) -> Bins:
    import numpy

    if not values.size:
        edges = numpy.array([0.0, 1.0]) if isinstance(bins, int) else bins
        return Bins(numpy.zeros(len(edges) - 1, dtype=numpy.int64), edges)
    if isinstance(bins, int):
        low, high = values.min().item(), values.max().item()
        whole = values.dtype.kind == "i" and high - low < bins and max(-low, high) < MAX_HALVES
        bins = numpy.arange(low, high + 2) - 0.5 if whole else _equal_bins(float(low), float(high), bins)
    counts, edges = numpy.histogram(values, bins)
    return Bins(counts, edges.astype(numpy.float64))


def _equal_bins(low: float, high: float, count: int) -> numpy.ndarray[Any, Any]:
    """Edges of bins of equal width, fewer where floats are too coarse for so many."""
    import numpy

    if low == high:
        low, high = low - 0.5, high + 0.5
    # By halves, because the distance of two floats may be no float.
    with numpy.errstate(over="ignore"):
        edges = (numpy.linspace(low / 2, high / 2, count + 1) * 2).clip(low, high)
    edges[0], edges[-1] = low, high
    edges = numpy.unique(edges)
    return edges if edges.size > 1 else numpy.array([numpy.nextafter(low, -numpy.inf), numpy.nextafter(low, numpy.inf)])


def _encoded(bins: Bins, extra: dict[str, Any]) -> Encoded:
    body = json.dumps({"counts": bins.counts.tolist(), "edges": bins.edges.tolist()}, separators=(",", ":"))
    return Encoded(HISTOGRAM, "json", body.encode(), extra=extra)


def _edges(given: Any) -> numpy.ndarray[Any, Any]:
    import numpy

    edges = arrays.to_numpy(arrays.copied(given)).astype(numpy.float64)
    if edges.ndim != 1 or not 2 <= edges.size <= MAX_BINS + 1 or not numpy.isfinite(edges).all():
        raise InvalidMedia(f"edges must be 2 to {MAX_BINS + 1} finite numbers")
    if (numpy.diff(edges) <= 0).any():
        raise InvalidMedia("edges must ascend")
    return edges


def _checked(counts: Any, edges: Any) -> Bins:
    import numpy

    found, ends = arrays.to_numpy(arrays.copied(counts)), _edges(edges)
    if found.shape != (ends.size - 1,):
        raise InvalidMedia(f"{found.size} counts need {found.size + 1} edges, not {ends.size}")
    if not numpy.isfinite(found).all() or (found < 0).any():
        raise InvalidMedia("counts must be finite and not negative")
    return Bins(found.astype(numpy.float64 if found.dtype.kind == "f" else numpy.int64), ends)
