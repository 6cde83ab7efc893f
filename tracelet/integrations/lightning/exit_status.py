"""How the process would end, from the exception or the state with which a trainer ends. Pure."""

from __future__ import annotations

from typing import Any

from tracelet.capture.exception_text import describe_exception
from tracelet.journal.records import FAILED, FINISHED, INTERRUPTED, PREEMPTED

EXIT = "SystemExit"
"""The start of the reason of a fit that ended in `sys.exit(code)`: Python does not expose the SystemExit to others."""
REASON_LENGTH = 500
"""A reason is one line; exceptions of tensors can print pages."""


def is_interrupted(trainer: Any) -> bool:
    """Whether Lightning has swallowed a KeyboardInterrupt."""
    return str(getattr(trainer.state.status, "value", "")) == "interrupted"


def exit_status(error: BaseException) -> tuple[str, str]:
    """(status, reason) of a process that this exception ends."""
    if type(error).__name__ == "SIGTERMException":
        return PREEMPTED, "SIGTERM"
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "KeyboardInterrupt"
    if isinstance(error, SystemExit):
        if isinstance(error.__context__, KeyboardInterrupt):
            # Lightning shuts down gracefully on Ctrl-C and then exits with code 1.
            return INTERRUPTED, "KeyboardInterrupt"
        return (FINISHED, "") if error.code in (None, 0) else (FAILED, f"{EXIT}: {error.code}"[:REASON_LENGTH])
    return FAILED, describe_exception(error).splitlines()[0][:REASON_LENGTH]
