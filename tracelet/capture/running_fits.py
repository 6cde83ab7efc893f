"""The fits of this process: their numbers, which one each thread runs, and what each of them fitted.

Integrations, and `tracelet.fit` for the program's own loops, call it on the user's threads a few times for each fit,
never in a step. Each change is one item in the buffer, so the writer knows the fit of whatever is logged by name, and
logging costs nothing more. It keeps no model and no trainer alive.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_PATHS = 10_000
"""Checkpoints whose fit is remembered."""


class FitChange:
    """From here on another fit runs, or none (0). What was emitted before it belongs to the earlier one."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Running(NamedTuple):
    """A fit, or an evaluation of what one has fitted, that a thread runs."""

    number: int
    thread: int
    block: bool
    """Whether the program has opened it with `tracelet.fit`, so that a library's fit inside may be the same one."""


class RunningFits:
    """Numbers fits from 1; an evaluation has the number of what it evaluates, 0 if that was not fitted here."""

    def __init__(self, emit: Callable[[FitChange], None]) -> None:
        self._emit = emit
        self._lock = threading.RLock()
        self._running: list[Running] = []
        self._empty_blocks: set[int] = set()
        """Blocks in which no library has fitted anything yet."""
        self._subjects: dict[int, tuple[weakref.ref[Any], int]] = {}
        """The id of a trainer, model or net to the last fit that used it."""
        self._paths: dict[str, int] = {}
        self.counted = 0
        self.number = 0
        """The running fit, for what is logged by name; 0 without one, and while several threads fit."""
        self.carried: int | None = None
        """In a launched rank: the number of the evaluation that the launching process has begun."""

    def begin(self, *, block: bool = False) -> int:
        """A fit begins on this thread; its number. The first one inside a block of the program is that block's."""
        with self._lock:
            outer = self.current()
            if not block and outer in self._empty_blocks:
                self._empty_blocks.discard(outer)
                number = outer
            else:
                self.counted = number = self.counted + 1
            if block:
                self._empty_blocks.add(number)
            self._enter(number, block)
            return number

    def evaluate(self, number: int) -> None:
        """An evaluation of this fit begins on this thread."""
        with self._lock:
            self._enter(number, False)

    def end(self, number: int) -> None:
        """The innermost fit or evaluation with this number ends, on whatever thread."""
        with self._lock:
            for place in range(len(self._running) - 1, -1, -1):
                if self._running[place].number == number:
                    self._empty_blocks -= {number} if self._running[place].block else set()
                    del self._running[place]
                    break
            self._announce()

    def _enter(self, number: int, block: bool) -> None:
        self._running.append(Running(number, threading.get_ident(), block))
        self._announce()

    def _announce(self) -> None:
        several = len({one.thread for one in self._running}) > 1
        number = self._running[-1].number if self._running and not several else 0
        if number != self.number:
            self.number = number
            self._emit(FitChange(number))

    def current(self) -> int:
        """The innermost fit of this thread; 0 without one."""
        here = threading.get_ident()
        return next((one.number for one in reversed(self._running) if one.thread == here), 0)

    def enclosing_block(self, number: int) -> int:
        """The block of the program inside which this fit runs as one of several; 0 for a fit of its own."""
        here = threading.get_ident()
        blocks = [one.number for one in self._running if one.thread == here and one.block]
        return blocks[-1] if blocks and blocks[-1] != number else 0

    def remember(self, number: int, *subjects: Any) -> None:
        """This fit uses these objects; a later evaluation of one of them belongs to it."""
        with self._lock:
            self._subjects = {key: known for key, known in self._subjects.items() if known[0]() is not None}
            for subject in subjects:
                try:
                    self._subjects[id(subject)] = weakref.ref(subject), number
                except TypeError:
                    continue

    def saved(self, path: str, number: int) -> None:
        """The fit has saved this checkpoint; an evaluation of it belongs to the fit."""
        with self._lock:
            self._paths[path] = number
            if len(self._paths) > MAX_PATHS:
                del self._paths[next(iter(self._paths))]

    def fitted(self, *subjects: Any, path: str = "") -> int:
        """The fit of what is evaluated: of its checkpoint, else of the first known subject; 0 if it has none here."""
        with self._lock:
            if path in self._paths:
                return self._paths[path]
            for subject in subjects:
                known = self._subjects.get(id(subject))
                if known is not None and known[0]() is subject:
                    return known[1]
            return 0
