"""The spans of one process as numpy columns. Used by the analyses of a run's time. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracelet.store.process_status import ProcessStatus
from tracelet.store.span_table import SpanTable
from tracelet.telemetry.names import APPLICATION, CALLBACKS, TRAINING_ITERATION, TRAINING_LOOP

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tracelet.journal.column_packing import IntArray

    Mask = npt.NDArray[np.bool_]


class ProcessColumns:
    """The spans of one rank in one attempt. Open spans last until the process ended, or until now."""

    def __init__(self, table: SpanTable, places: IntArray, process: int, known: ProcessStatus | None) -> None:
        import numpy as np

        codes: dict[str, int] = {}
        names = table.names
        self.kinds = np.array([codes.setdefault(names[place], len(codes)) for place in places.tolist()], dtype=np.int64)
        self.codes = codes
        self.names = list(codes)
        self.ids, self.starts = table.ids[places], table.starts_ns[places]
        self.durations = table.durations_ns[places].copy()
        self.open = np.flatnonzero(self.durations < 0)
        latest = int((self.starts + np.maximum(self.durations, 0)).max())
        if known is not None:
            latest = max(latest, known.status.time * 1000)
        self.durations[self.open] = latest - self.starts[self.open]
        self.ends = self.starts + self.durations
        threads = table.threads[places]
        self.main = threads == threads[np.argmin(self.starts)]
        self.rank, self.process = int(table.ranks[places[0]]), process
        self.attempt = known.started.attempt if known is not None else 0
        self.attributes = {row: table.attributes[place] for row, place in enumerate(places.tolist())
                           if place in table.attributes}  # fmt: skip
        self.hooks = {row: found.get("hook") for row, found in self.attributes.items()
                      if self.names[self.kinds[row]] == CALLBACKS}  # fmt: skip
        """By row, the hook of callbacks that stand alone."""
        self.parents = table.parents[places]
        self.above = self._rows_of(self.parents)
        self.begin, self.total = self.starts.min(keepdims=True), int(self.ends.max() - self.starts.min())
        applications = np.flatnonzero(self.named(APPLICATION))
        if len(applications):
            longest = applications[[int(np.argmax(self.durations[applications]))]]
            self.begin, self.total = self.starts[longest], int(self.durations[longest].sum())
        trials = [row for row, found in self.attributes.items() if found.get("trial")]
        self.trial = self.named(TRAINING_LOOP) & np.isin(np.arange(len(self.ids)), trials)
        """Training loops of tuners."""
        self.tuned = self.inside(self.trial) | self.trial

    def _rows_of(self, ids: IntArray) -> IntArray:
        """Where these ids stand; -1 where they do not."""
        import numpy as np

        order = np.argsort(self.ids)
        known = self.ids[order]
        found = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        return np.where(known[found] == ids, order[found], -1)

    def named(self, *names: str) -> Mask:
        """Which spans have one of these names."""
        import numpy as np

        wanted = [self.codes[name] for name in names if name in self.codes]
        found: Mask = np.isin(self.kinds, wanted)
        return found

    def inside(self, mask: Mask) -> Mask:
        """Which spans have one of these as an ancestor."""
        import numpy as np

        found: Mask = np.zeros(len(self.ids), dtype=bool)
        has_parent = self.above >= 0
        while True:
            reached = has_parent & (mask[self.above] | found[self.above])
            if (reached == found).all():
                return found
            found = reached

    def around(self, mask: Mask) -> Mask:
        """Which spans have one of these inside."""
        import numpy as np

        found: Mask = np.zeros(len(self.ids), dtype=bool)
        above = np.unique(self.above[mask])
        while len(above := above[above >= 0]):
            found[above] = True
            above = np.unique(self.above[above])
        return found

    def iterations(self) -> IntArray:
        """The rows of the training iterations that have ended, trials left out, by their begin."""
        import numpy as np

        chosen = self.named(TRAINING_ITERATION) & ~self.tuned
        chosen[self.open] = False
        return np.flatnonzero(chosen)
