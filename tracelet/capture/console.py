"""Records what the program prints: wraps `write` of the objects `sys.stdout` and `sys.stderr`.

Started and stopped by the session. The streams stay the very same objects, with the same descriptors, encoding and
`isatty()`: only their attribute `write` is covered, and it calls the original first, with what it was given. What was
printed is put aside on the printing thread (some microseconds a line) and made into lines on the writer's thread. What
goes past these two objects (C libraries, child processes, `os.write`) is not seen. See decision 0060.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tracelet.capture.sanitize import storable_text
from tracelet.capture.sink import DeferredRecords, Sink
from tracelet.capture.terminal import Terminal
from tracelet.guard import guard, logger
from tracelet.journal.records import Console, Notice, Record
from tracelet.redaction.masking import MASK, mask_text

STREAMS = ("stdout", "stderr")
MAX_BUFFERED = 1_000_000
"""Characters that wait for the writer; it comes by several times a second, so this is megabytes a second."""
RATE, BURST = 64_000, 1_000_000
"""Characters a second that are recorded, and how many at once: a log that a person reads is far below it."""
SPARSE_AFTER = 16_000_000
"""Characters of one stream after which only so little is recorded that a month adds little: """
SPARSE_RATE, SPARSE_BURST = 100, 16_000
LINE_COST = 24
"""What a line costs beside its characters: number, time."""
UPDATE_INTERVAL = 5_000_000
"""Microseconds between two states of a line that keeps changing, such as a progress bar."""

_KEY_START = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----(?!.*-----END )")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----")
_KEY_LINE = re.compile(r"\s*(?:[A-Za-z0-9+/=-]*:?|(?:Proc-Type|DEK-Info): .*|-----END [A-Z0-9 ]*-*)\s*")
"""What can stand in a private key, or be the beginning of it: another line says that there was none, or that it was cut
off. Not asked in the visit in which a key began: keys are printed with prefixes, too."""

_missing: Any = object()


class RateLimit:
    """How much may be recorded now: so many characters a second, saved up to a burst."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._spent = 0
        self._at = time.monotonic()

    def allows(self, cost: int) -> bool:
        """Whether there is enough left for this much; it is spent then."""
        rate, burst = (RATE, BURST) if self._spent < SPARSE_AFTER else (SPARSE_RATE, SPARSE_BURST)
        now = time.monotonic()
        self._tokens = min(burst, self._tokens + (now - self._at) * rate)
        self._at = now
        if cost > self._tokens:
            return False
        self._tokens -= cost
        self._spent += cost
        return True


class StreamRecorder(DeferredRecords):
    """One stream: takes text on any thread, makes records of it on the writer's."""

    def __init__(self, stream: str, sink: Sink) -> None:
        self.stream = stream
        self.left_out = 0
        """Lines that were not recorded because there were too many."""
        self._sink = sink
        self._pid = os.getpid()
        self._pieces: deque[tuple[float, str]] = deque()
        self._held = self._lost = 0
        self._requested = self._closing = False
        self._terminal = Terminal()
        self._limit = RateLimit()
        self._recorded: dict[int, int] = {}
        """When the lines that may still change were recorded last."""
        self._key: int | None = None
        """The line in which a private key began whose end has not been printed yet."""

    def write(self, text: Any) -> None:
        """Take printed text."""
        with guard("listening to the console"):
            if not text or not isinstance(text, str) or os.getpid() != self._pid:
                return  # a forked child prints for itself
            if self._held > MAX_BUFFERED:
                self._lost += text.count("\n")
                return
            self._held += len(text)
            self._pieces.append((time.time(), text[:MAX_BUFFERED]))
            if not self._requested:
                self._requested = True
                self._sink.emit(self)

    def close(self) -> None:
        """Record the last state; nothing more is taken."""
        self._closing = True
        self._sink.emit(self)

    def records(self) -> list[Record]:
        """The lines that are new or have changed."""
        self._requested = False
        self._held = 0
        moment = 0
        while self._pieces:
            at, text = self._pieces.popleft()
            moment = int(at * 1e6)
            self._terminal.feed(text, moment)
        lost, self._lost = self._lost, 0
        if lost:
            self._terminal.skip(lost)
            self.left_out += lost
        found = self._lines(moment)
        self._terminal.discard_final()
        self._recorded = {row: at for row, at in self._recorded.items() if row >= self._terminal.row}
        notice = [self._notice()] if self._closing and self.left_out else []
        return [*([self._record(found)] if found else []), *notice]

    def _lines(self, moment: int) -> list[tuple[int, int, str]]:
        found = []
        for row in self._terminal.changed():
            recent = moment - self._recorded.get(row, -UPDATE_INTERVAL) < UPDATE_INTERVAL
            if row >= self._terminal.row and recent and not self._closing:
                continue  # it keeps changing
            began, text = self._terminal.take(row)
            self._recorded[row] = moment
            if self._limit.allows(len(text) + LINE_COST):
                found.append((row, began, text))
            else:
                self.left_out += 1
        return found

    def _record(self, found: list[tuple[int, int, str]]) -> Console:
        texts = _mask_lines(self._mask_private_keys(found))
        first = min(began for _, began, _ in found)
        lines = [(row, began - first, text) for (row, began, _), text in zip(found, texts)]
        return Console(time=first, stream=self.stream, lines=lines)

    def _mask_private_keys(self, found: list[tuple[int, int, str]]) -> list[str]:
        # Not left to masking, which sees the lines of one visit: a key may be printed over two.
        texts, visit = [storable_text(text) for _, _, text in found], False
        for place, (row, _, _) in enumerate(found):
            text = texts[place]
            if begin := _KEY_START.search(text):
                texts[place] = f"{text[: begin.end()].rstrip('-')}{MASK}"
                self._key, visit = row, True
            elif self._key is not None and row > self._key:
                end = _KEY_END.search(text)
                texts[place] = text[end.start() :] if end else ""
                if end:
                    self._key = None
                elif not visit and not _KEY_LINE.fullmatch(text):
                    self._key, texts[place] = None, text
        return texts

    def _notice(self) -> Notice:
        count, self.left_out = self.left_out, 0
        message = f"{count:,} lines of {self.stream} were not recorded because there were too many."
        return Notice(time=int(time.time() * 1e6), code="console", count=count, message=message)


def _mask_lines(texts: list[str]) -> list[str]:
    """The lines without secrets. One over several lines leaves lines empty where it stood."""
    masked = mask_text("\n".join(texts)).split("\n")
    missing = len(texts) - len(masked)
    if missing:
        same = 0
        while same < len(masked) and masked[-1 - same] == mask_text(texts[-1 - same]):
            same += 1
        after = len(masked) - same
        masked[after:after] = [""] * missing
    return masked


class _WriteWrapper:
    """Our `write` on one stream object."""

    def __init__(self, stream: Any, recorder: StreamRecorder) -> None:
        self.recorder: StreamRecorder | None = recorder
        self.stream = stream
        self.original = vars(stream).get("write", _missing)  # TypeError: where attributes stand elsewhere we leave them
        self.replacement = self._wrapper(stream.write)
        stream.write = self.replacement

    def _wrapper(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def write(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if self.recorder is not None and args:
                self.recorder.write(args[0])
            return result

        return write

    def revert(self) -> None:
        """Restore the original, or become inactive where other code has wrapped ours."""
        recorder, self.recorder = self.recorder, None
        if vars(self.stream).get("write") is self.replacement:
            if self.original is _missing:
                del self.stream.write
            else:
                self.stream.write = self.original
        if recorder is not None:
            recorder.close()


class ConsoleCapture:
    """The streams of this process, as they are when the run starts."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._wrappers: list[_WriteWrapper] = []

    def start(self) -> None:
        """Start recording."""
        for name in STREAMS:
            stream = getattr(sys, name, None)
            if stream is None or any(wrapper.stream is stream for wrapper in self._wrappers):
                continue
            try:
                self._wrappers.append(_WriteWrapper(stream, StreamRecorder(name, self._sink)))
            except (AttributeError, TypeError) as error:  # an object that takes no attributes
                logger.debug("tracelet: %s is not recorded: %s", name, error)

    def stop(self) -> None:
        """Stop recording."""
        while self._wrappers:
            self._wrappers.pop().revert()
