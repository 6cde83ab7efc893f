"""Calls one backend: retries with backoff and jitter while it is unavailable, a limited number of times otherwise.

Used by one courier, on its thread; other threads may wake it, and ask how long a call has lasted.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_when_event_set

from tracelet.agent.delivery.courier_state import CourierState
from tracelet.errors import Misconfigured, Rejected, Unavailable, Unexplained

FIRST_PAUSE, MAX_PAUSE = 0.5, 30.0
"""Seconds; each retry waits a random time between zero and twice the previous maximum."""
MAX_DOUBLINGS = 10
MAX_UNEXPLAINED_FAILURES = 8
"""How often, within half a minute, a call may fail with an unexplained error; then its batch is split, or the backend
counts as broken if it cannot even be opened.
"""


class BackendCalls:
    """The calls of one courier."""

    def __init__(self, courier_state: CourierState, stopping: threading.Event) -> None:
        self._courier_state = courier_state
        self._stopping = stopping
        self._woken = threading.Event()
        self._unexplained_failures = 0
        self._bounded = False
        self._call_started = 0.0
        self._random = random.Random()  # our own: the global one belongs to the training, which "inline" shares

    def wake(self) -> None:
        """End the current pause."""
        self._woken.set()

    def call_seconds(self) -> float:
        """Seconds since the current call began."""
        called = self._call_started
        return time.monotonic() - called if called else 0.0

    def call(self, function: Callable[[bool], None], bounded: bool = False) -> None:
        """Call the backend until it succeeds. The argument of `function` says whether the call is a repeat.

        `bounded`: unexplained errors are raised after some tries.
        """
        self._unexplained_failures, self._bounded = 0, bounded
        for attempt in Retrying(
            retry=retry_if_exception(self._is_retryable), wait=lambda state: self.jitter(state.attempt_number),
            stop=stop_when_event_set(self._stopping), sleep=self.pause, before_sleep=self._report_retry, reraise=True,
        ):  # fmt: skip
            with attempt:
                number = attempt.retry_state.attempt_number
                self.attempt(lambda repeat=number > 1: function(repeat))  # type: ignore[misc]

    def attempt(self, function: Callable[[], None]) -> None:
        """One call."""
        self._call_started = time.monotonic()
        try:
            function()
        except Exception as error:
            if _interpreter_shutting_down(error):
                raise Misconfigured(*unexplained(error)) from error
            raise
        finally:
            self._call_started = 0.0

    def _is_retryable(self, error: BaseException) -> bool:
        if isinstance(error, Unavailable) and not (self._bounded and isinstance(error, Unexplained)):
            return True
        if not is_unknown(error):
            return False
        self._unexplained_failures += 1
        return self._unexplained_failures < MAX_UNEXPLAINED_FAILURES

    def _report_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None and is_unknown(error):
            self._courier_state.trace(error)
        self._courier_state.offline(
            str(error) if isinstance(error, Unavailable) else f"{type(error).__name__}: {error}"
        )

    def jitter(self, attempts: int) -> float:
        """Seconds to wait after this many attempts."""
        widest = min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(attempts, MAX_DOUBLINGS))
        return self._random.uniform(0.0, widest)

    def pause(self, seconds: float) -> None:
        """Wait, unless another thread wakes it."""
        self._woken.wait(seconds)
        self._woken.clear()


def is_unknown(error: BaseException) -> bool:
    """Whether an error is neither known to be temporary nor known to be permanent."""
    if isinstance(error, Unavailable):
        return isinstance(error, Unexplained)
    return isinstance(error, Exception) and not isinstance(error, (Misconfigured, Rejected))


def _interpreter_shutting_down(error: Exception) -> bool:
    """Whether Python refuses the call because it is shutting down, whatever the message: every retry would fail."""
    return not threading.main_thread().is_alive() and "shutdown" in str(error)


def unexplained(error: Exception) -> tuple[str, str]:
    """The reason and the fix to report for an error that the backend has not explained."""
    if _interpreter_shutting_down(error):
        return (
            f"the program ended before the backend's SDK had started, and Python starts no threads at exit ({error})",
            "Next time, end the program with tracelet.stop_logging(), or use `with tracelet.start_logging(...)`",
        )
    return f"{type(error).__name__}: {error}", "See agent.log in the run's folder"
