"""Derives the status of a run from the exception that ends it. Used by the session when it ends a run."""

from __future__ import annotations

import sys
import traceback

from tracelet.capture.exception_text import describe_exception
from tracelet.journal.records import FAILED, FINISHED, INTERRUPTED, PREEMPTED
from tracelet.redaction.masking import mask_text
from tracelet.session.rank_environment import in_worker_process, launched_index


def current_exception() -> BaseException | None:
    """In a multiprocessing child that is exiting: the exception that ends it."""
    error = sys.exc_info()[1] if in_worker_process() else None
    if isinstance(error, SystemExit) and error.code and launched_index() is not None:
        return error.__context__ or error  # torch has caught the original and exits with 1
    return error


def exit_status(error: BaseException | None, expected: tuple[str, str]) -> tuple[str, str, str]:
    """(status, reason, traceback) of a run that ends with `error`, or None."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        status, reason = expected
        return status or FINISHED, reason, ""
    trace = mask_text("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "Ctrl-C", trace
    if type(error).__name__ == "SIGTERMException":  # Lightning's, recognized by name: Lightning may not be installed
        return PREEMPTED, expected[1] if expected[0] == PREEMPTED else "SIGTERM", trace
    if isinstance(error, SystemExit) and expected[0]:
        return expected[0], expected[1], trace
    return FAILED, describe_exception(error), trace
