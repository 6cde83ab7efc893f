"""What an integration is: patches for one library, declared in a table, applied and reverted by the base class.

Patches are applied when the library's module is imported, be that before or after `start_logging()`. A wrapper runs on the
user's thread: it calls the original with the very same arguments, returns its very value, lets its exception pass, and
does our part under `guard`. What it finds goes into a `Sink`, which never blocks and never raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, Union

from tracelet.integrations.patching import Patch, Patcher
from tracelet.records import Record


class SeriesKey:
    """The identity of a series while it is being recorded; made once per (name, stage, fit) and reused for every point.

    Compared by identity, so that grouping points by it costs a pointer hash.
    """

    __slots__ = ("automatic", "fit", "name", "reduce", "stage")

    def __init__(self, name: str, stage: str = "", fit: int = 0, reduce: str = "", automatic: bool = False) -> None:
        self.name = name
        self.stage = stage
        self.fit = fit
        self.reduce = reduce
        self.automatic = automatic


PlainPoint = tuple[str, Union[int, None], object, float]
"""(name, step or None for "the next one", value, seconds since the epoch)"""

KeyedPoint = tuple[SeriesKey, object, object, float, int, object]
"""(key, step, value, seconds since the epoch, epoch or -1, weight or None)

On other devices than the CPU, step, value and weight may be one-element tensors, which the writer thread reads.
"""

Item = Union[PlainPoint, KeyedPoint, Record]
"""What may be put into a sink. A value may be any number or one-element tensor that nobody changes any more."""


class Sink(Protocol):
    """Where captured things go: `tracelet.writer.Writer` in a run, a list in a test."""

    def emit(self, item: Item) -> None:
        """Take one item; returns at once and never raises."""

    def expect(self, status: str, reason: str) -> None:
        """How the process would end if it ended now without anybody saying otherwise; empty: nothing known."""


class Integration:
    """The base of all integrations: arms a table of patches, and takes every one of them back."""

    name = ""

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        self.sink = sink
        self.settings = settings
        self._patcher: Patcher | None = None

    def patches(self) -> Iterable[Patch]:
        """The patches of this integration; called once for each `start`."""
        raise NotImplementedError

    def start(self) -> None:
        """Patch what is imported and wait for the rest. Calling it twice changes nothing."""
        if self._patcher is None:
            self._patcher = Patcher(self.patches())
            self._patcher.apply()

    def stop(self) -> None:
        """Put back everything that `start` replaced. Calling it twice changes nothing."""
        patcher, self._patcher = self._patcher, None
        if patcher is not None:
            patcher.revert()
