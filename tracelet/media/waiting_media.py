"""The media that wait to be encoded and written, in bounded memory, and the rule by which they are thinned.

Filled on the program's threads, emptied on the recorder's. When more bytes wait than allowed, every second waiting
value of the name with the most waiting bytes is dropped, and the newest stays: what remains is spread evenly over the
steps. A single value may be larger than the limit if it is the only one that waits.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

from tracelet.media.media_value import Snapshot


@dataclass(eq=False)
class Waiting:
    """One value, and what its record will say."""

    name: str
    snapshot: Snapshot
    step: int
    time: int
    caption: str = ""
    index: int = 0
    count: int = 1
    epoch: int = -1
    stage: str = ""
    nbytes: int = 0
    number: int = 0
    """The place in the order of logging, from 1."""


class WaitingMedia:
    """A queue. Its lock may be taken again by a signal handler that logs."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.RLock()
        self._queue: deque[Waiting] = deque()
        self._bytes: Counter[str] = Counter()
        self._total = 0
        self._put = 0
        self.thinned: Counter[str] = Counter()
        """How many values of each name were dropped and not yet reported."""

    @property
    def put_count(self) -> int:
        """How many values have been logged so far."""
        return self._put

    def put(self, waiting: Waiting) -> None:
        """Add a value; drops others if there is not enough memory."""
        with self._lock:
            self._put += 1
            waiting.number = self._put
            waiting.nbytes = waiting.snapshot.nbytes
            self._queue.append(waiting)
            self._count(waiting, 1)
            while self._total > self._limit and len(self._queue) > 1:
                self._thin()

    def first(self) -> Waiting | None:
        """Remove and return the oldest value; its memory counts until `release`. None if nothing waits."""
        with self._lock:
            return self._queue.popleft() if self._queue else None

    def release(self, waiting: Waiting) -> None:
        """A value that `first` returned is written, or given up."""
        with self._lock:
            self._count(waiting, -1)

    def oldest_number(self) -> int:
        """The number of the oldest value that waits; beyond all if none does."""
        with self._lock:
            return self._queue[0].number if self._queue else self._put + 1

    def drop_all(self) -> None:
        """Drop and count everything that waits."""
        with self._lock:
            self._drop(list(self._queue))

    def _thin(self) -> None:
        newest = self._queue[-1]
        name = max({waiting.name for waiting in self._queue}, key=lambda name: self._bytes[name])
        same = [waiting for waiting in self._queue if waiting.name == name]
        doomed = same[-2::-2]  # from the last but one backwards, so that the newest stays
        if not doomed:
            doomed = [same[0]] if same[0] is not newest else [self._queue[0]]
        self._drop(doomed)

    def _drop(self, doomed: list[Waiting]) -> None:
        dropped = {id(waiting) for waiting in doomed}
        self._queue = deque(waiting for waiting in self._queue if id(waiting) not in dropped)
        for waiting in doomed:
            self._count(waiting, -1)
            self.thinned[waiting.name] += 1

    def _count(self, waiting: Waiting, sign: int) -> None:
        self._bytes[waiting.name] += sign * waiting.nbytes
        self._total += sign * waiting.nbytes
        if not self._bytes[waiting.name]:
            del self._bytes[waiting.name]
