"""The timeline of a run, limited to what a screen can show: spans selected by pixel, and shares of time.

Called by the API's worker threads, which hold the run's lock during a call. Spans narrower than a pixel are drawn
together, so that a million iterations cost no more than a screenful.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracelet.store.process_status import ProcessStatus
from tracelet.store.span_table import SpanTable
from tracelet.telemetry.reading.findings import findings
from tracelet.telemetry.reading.time_analysis import analyse

if TYPE_CHECKING:
    from tracelet.journal.column_packing import IntArray

MOST = 6000
"""Spans per answer: more rectangles than that are unreadable."""


def lanes(table: SpanTable, low: float | None, high: float | None, width: int) -> dict[str, Any]:
    """The spans between two times (seconds since the epoch), each with its lane: rank and depth.

    Of neighbors of one kind on one lane that fall into the same pixel, the longest is kept, with their number.
    """
    import numpy as np

    if not len(table):
        return {"low": 0, "high": 0, "whole": [0, 0], "names": [], "rows": [], "depths": {}}
    ends = _ends(table)
    whole = (int(table.starts_ns.min()), int(ends.max()))
    begin = whole[0] if low is None else int(low * 1e9)
    end = max(begin + 1, whole[1] if high is None else int(high * 1e9))
    depth = _depths(table)
    seen = np.flatnonzero((ends >= begin) & (table.starts_ns <= end))
    pixel = max(1, (end - begin) // max(50, min(width, 4000)))
    known = sorted(set(table.names))
    number = {name: place for place, name in enumerate(known)}
    kinds = np.array([number[name] for name in table.names], dtype=np.int64)
    kept, together = _merged(table, seen, kinds, depth, ends, begin, pixel)
    rows = [
        [int(table.ranks[i]), int(depth[i]), int(kinds[i]), (int(table.starts_ns[i]) - whole[0]) / 1e9,
         max(0, int(ends[i] - table.starts_ns[i])) / 1e9, int(count), table.errors.get(int(i), "")]
        for i, count in zip(kept, together)
    ]  # fmt: skip
    depths = {str(rank): int(depth[table.ranks == rank].max()) + 1 for rank in np.unique(table.ranks).tolist()}
    return {
        "origin": whole[0] / 1e9, "whole": [0, (whole[1] - whole[0]) / 1e9], "names": known, "rows": rows,
        "low": (begin - whole[0]) / 1e9, "high": (end - whole[0]) / 1e9, "depths": depths, "seen": len(seen),
    }  # fmt: skip


def _ends(table: SpanTable) -> IntArray:
    """The end of each span; open spans extend to the last known time."""
    import numpy as np

    known = table.starts_ns + np.maximum(table.durations_ns, 0)
    ends: IntArray = np.where(table.durations_ns < 0, known.max(), known)
    return ends


def _depths(table: SpanTable) -> IntArray:
    """How many spans contain each span. Level by level, because a parent may begin at the same nanosecond."""
    import numpy as np

    own = (table.processes << 44) + table.ids
    above = np.where(table.parents > 0, (table.processes << 44) + table.parents, -1)
    order = np.argsort(own)
    place = np.searchsorted(own[order], above)
    place = np.minimum(place, len(own) - 1)
    parent = np.where((above >= 0) & (own[order][place] == above), order[place], -1)
    depth = np.zeros(len(own), dtype=np.int64)
    climbing = parent.copy()
    for _ in range(16):  # deeper than any program nests spans; a cycle in damaged data ends here too
        inside = climbing >= 0
        if not inside.any():
            break
        depth[inside] += 1
        climbing[inside] = parent[climbing[inside]]
    return depth


def _merged(
    table: SpanTable, seen: IntArray, kinds: IntArray, depth: IntArray, ends: IntArray, begin: int, pixel: int
) -> tuple[IntArray, IntArray]:
    """The spans to draw and how many each represents."""
    import numpy as np

    length = ends[seen] - table.starts_ns[seen]
    column = np.maximum(0, (table.starts_ns[seen] - begin) // pixel)
    key = ((table.ranks[seen] * 64 + np.minimum(depth[seen], 63)) * 256 + kinds[seen] % 256) * 8192 + column
    order = np.lexsort((-length, key))
    _, first, counts = np.unique(key[order], return_index=True, return_counts=True)
    kept = seen[order][first]
    if len(kept) > MOST:
        longest = np.sort(np.argsort(-(ends[kept] - table.starts_ns[kept]))[:MOST])
        kept, counts = kept[longest], counts[longest]
    return kept, counts


def shares(
    table: SpanTable,
    statuses: Mapping[int, ProcessStatus],
    params: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """The breakdown of the leading process's time, findings, and each kind of its spans."""
    processes = analyse(table, statuses)
    if not processes:
        return {"kinds": [], "parts": [], "goodput": None, "findings": []}
    lead = processes[0]
    parts = [{"name": name, "seconds": seconds} for name, seconds in lead.parts.items()]
    return {
        "kinds": _kinds(table), "parts": sorted(parts, key=_seconds),
        "goodput": lead.goodput if lead.training else None,
        "findings": [finding.text for finding in findings(processes, params, environment)],
    }  # fmt: skip


def _kinds(table: SpanTable) -> list[dict[str, Any]]:
    """Count, total, mean and maximum duration, largest total first; of the lowest rank."""
    import numpy as np

    lowest = table.ranks == table.ranks.min()
    lengths = (_ends(table) - table.starts_ns)[lowest] / 1e9
    titles = np.array(table.names, dtype=object)[lowest]
    kinds = []
    for name in sorted(set(titles.tolist())):
        own = lengths[titles == name]
        kinds.append({"name": name, "count": len(own), "seconds": float(own.sum()), "mean": float(own.mean()),
                      "longest": float(own.max()), "p95": float(np.quantile(own, 0.95))})  # fmt: skip
    return sorted(kinds, key=_seconds)


def _seconds(row: Mapping[str, Any]) -> float:
    return -float(row["seconds"])
