"""Calls one backend: again with backoff and jitter while it does not answer, a limited number of times otherwise.

Used by one courier, on its thread; other threads may nudge it, and ask how long a call has lasted.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_when_event_set

from tracelet.agent.delivery.courier_state import Progress
from tracelet.errors import Misconfigured, Rejected, Unavailable, Unexplained

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds; each attempt waits at random between nothing and the double of what the last one might have waited."""
MOST_DOUBLINGS = 10
STRIKES = 8
"""How often, in half a minute, a call may fail in a way that the backend does not explain; then its batch is taken
apart, or the backend is broken, if it cannot even be opened."""


class BackendCalls:
    """The calls of one courier."""

    def __init__(self, progress: Progress, ceasing: threading.Event) -> None:
        self._progress = progress
        self._ceasing = ceasing
        self._nudged = threading.Event()
        self._strikes = 0
        self._bounded = False
        self._called = 0.0
        self._dice = random.Random()  # of our own: the global one belongs to the training, which "inline" shares

    def nudge(self) -> None:
        """End the pause that is being made."""
        self._nudged.set()

    def waited(self) -> float:
        """Seconds since the call that is being made began."""
        called = self._called
        return time.monotonic() - called if called else 0.0

    def call(self, verb: Callable[[bool], None], bounded: bool = False) -> None:
        """Call the backend until it takes it. The argument of `verb` tells whether it was tried before.

        `bounded`: answers that the backend does not know are raised after some tries.
        """
        self._strikes, self._bounded = 0, bounded
        for attempt in Retrying(
            retry=retry_if_exception(self._worth_another), wait=lambda state: self.jitter(state.attempt_number),
            stop=stop_when_event_set(self._ceasing), sleep=self.pause, before_sleep=self._tell, reraise=True,
        ):  # fmt: skip
            with attempt:
                number = attempt.retry_state.attempt_number
                self.attempt(lambda repeat=number > 1: verb(repeat))  # type: ignore[misc]

    def attempt(self, verb: Callable[[], None]) -> None:
        """One call."""
        self._called = time.monotonic()
        try:
            verb()
        except Exception as error:
            if _too_late(error):
                raise Misconfigured(*unexplained(error)) from error
            raise
        finally:
            self._called = 0.0

    def _worth_another(self, error: BaseException) -> bool:
        if isinstance(error, Unavailable) and not (self._bounded and isinstance(error, Unexplained)):
            return True
        if not unknown(error):
            return False
        self._strikes += 1
        return self._strikes < STRIKES

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None and unknown(error):
            self._progress.trace(error)
        self._progress.offline(str(error) if isinstance(error, Unavailable) else f"{type(error).__name__}: {error}")

    def jitter(self, attempts: int) -> float:
        """Seconds to wait after so many attempts."""
        widest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts, MOST_DOUBLINGS))
        return self._dice.uniform(0.0, widest)

    def pause(self, seconds: float) -> None:
        """Wait, unless somebody nudges."""
        self._nudged.wait(seconds)
        self._nudged.clear()


def unknown(error: BaseException) -> bool:
    """Whether an error says neither that it passes nor that it stays."""
    if isinstance(error, Unavailable):
        return isinstance(error, Unexplained)
    return isinstance(error, Exception) and not isinstance(error, (Misconfigured, Rejected))


def _too_late(error: Exception) -> bool:
    """Whether Python refuses it, in whatever words, because it is ending: then it refuses it again and again."""
    return not threading.main_thread().is_alive() and "shutdown" in str(error)


def unexplained(error: Exception) -> tuple[str, str]:
    """What to say, and what to type, of an error that the backend has not explained."""
    if _too_late(error):
        return (
            f"the program ended before the backend's SDK had started, and Python starts no threads at exit ({error})",
            "Next time, end the program with tracelet.stop_logging(), or use `with tracelet.start_logging(...)`",
        )
    return f"{type(error).__name__}: {error}", "See agent.log in the run's folder"
