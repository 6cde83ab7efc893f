"""Keeps our failures out of the user's program; the only place that does.

Used by every wrapper, thread and hook of ours, on any thread. A failure is counted, logged once per guarded place, and
then ignored. `KeyboardInterrupt` and `SystemExit` are the user's and always pass.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

Answer = TypeVar("Answer")

logger = logging.getLogger("tracelet")

failures: Counter[str] = Counter()
"""How often each guarded place has failed in this process."""

observers: list[Callable[[str, BaseException], None]] = []
"""Called with (place, exception) for every failure; the test suite appends one that fails the test."""

_said: dict[str, object] = {}
"""Keys of messages that are printed once. No lock: one held by another thread at a fork would block the
child forever.
"""


def say(message: str, *, once: str | None = None) -> None:
    """Print a message through the `tracelet` logger (stderr by default); with `once`, one time per key."""
    mine = object()
    if once is not None and _said.setdefault(once, mine) is not mine:
        return
    logger.warning("tracelet: %s", message)


def renamed(old: str, new: str) -> None:
    """Report once that a public name has changed; the old one works for one version."""
    say(f"{old} is now {new}. The old name still works and will be removed in the next version.", once=f"renamed:{old}")


def failed(place: str, error: BaseException) -> None:
    """Count a failure of ours and log it the first time; never raises unless an observer does."""
    failures[place] += 1
    say(
        f"{place} failed ({type(error).__name__}: {error}). Your program is not affected; "
        "what this part would have recorded is missing. Further failures of this part are only counted.",
        once=f"guard:{place}",
    )
    logger.debug("tracelet: %s", place, exc_info=error)
    for observe in tuple(observers):
        observe(place, error)


def attempt(read: Callable[[], Answer], otherwise: Callable[[Exception], Answer]) -> Answer:
    """What `read` returns, or what `otherwise` makes of its exception: for code of others (a user's value that is read,
    an SDK that is waited for). That is no failure of ours, so it is not counted.
    """
    try:
        return read()
    except Exception as error:
        return otherwise(error)


class guard:
    """`with guard("reading the git state"): ...` runs our own code so that no exception of it escapes."""

    __slots__ = ("place",)

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        failed(self.place, error)
        return True


def reset() -> None:
    """Forget messages and counts: a new run may print them again."""
    _said.clear()
    failures.clear()
