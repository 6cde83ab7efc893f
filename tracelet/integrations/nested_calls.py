"""Whether a thread is inside a call whose values are recorded, so that nested calls do not record them again.

Libraries call one another: `Accelerator.log` calls a tracker, which calls a `SummaryWriter`. The outermost integration
that has recorded the values marks its call here, and the integrations of the nested libraries check. Called on the
user's threads; a mark ends with its call, even after an exception.
"""

from __future__ import annotations

import threading
from types import TracebackType

_depths: dict[int, int] = {}
"""Thread to its number of nested marked calls."""


class RecordedCall:
    """A marked call; nested ones count."""

    __slots__ = ()

    def __enter__(self) -> None:
        thread = threading.get_ident()
        _depths[thread] = _depths.get(thread, 0) + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        thread = threading.get_ident()
        depth = _depths.get(thread, 1) - 1
        if depth:
            _depths[thread] = depth
        else:
            _depths.pop(thread, None)


recorded_call = RecordedCall()
"""`with recorded_call: ...` around a call whose values are recorded."""


def in_recorded_call() -> bool:
    """Whether this thread is inside a marked call."""
    return bool(_depths) and threading.get_ident() in _depths
