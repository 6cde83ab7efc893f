"""Every exception that tracelet raises on purpose, drawn as a tree.

    TraceletError
     |- SettingsError      a key, value or file of settings that cannot be meant     (also ValueError)
     |- AlreadyActive      start_logging() for a second, different run               (also RuntimeError)
     |- InvalidMetric      a metric name or value that cannot be recorded            (also TypeError)
     |- InvalidArgument    parameters or tags that have no names                   (also TypeError)
     |- ArtifactNotFound   log_artifact() of a path where nothing is              (also FileNotFoundError)
     |- ImportFailed       nothing that an importer can read                     (also ValueError)
     |- FilterError        a filter expression that cannot be meant                  (also ValueError)
     |- RunNotFound        no run, or several, answer to the name given              (also LookupError)
     |- StoreError         the store's folder cannot be used                         (also OSError)
     |- JournalError       a file that is no journal, or one of a newer tracelet     (also ValueError)
     |- Absent             a collector's subject is not on this machine (no GPU, no git)
     '- BackendError
         |- Unavailable    try again later
         |- Rejected       the backend refuses these records for good
         '- Misconfigured  nothing will be accepted until somebody mends the settings

Raised only where the user called us by name; everything that happens on its own goes through `tracelet.guard`.
Every message says what happened, what still works, and what to type.
"""

from __future__ import annotations

from typing import Any


class TraceletError(Exception):
    """The base of all exceptions raised by tracelet."""


class SettingsError(TraceletError, ValueError):
    """A setting is unknown or has an impossible value; the message names the nearest known one."""


class AlreadyActive(TraceletError, RuntimeError):
    """`start_logging()` asked for a second run while one is active in this process."""


class InvalidMetric(TraceletError, TypeError):
    """A metric's name is not a string, or its value is not one number."""


class InvalidArgument(TraceletError, TypeError):
    """What was given as parameters or tags is of a kind that cannot be meant."""


class ArtifactNotFound(TraceletError, FileNotFoundError):
    """There is no file or folder at the path given to `log_artifact()`."""


class ImportFailed(TraceletError, ValueError):
    """A path holds no run that an importer knows, or a run whose files cannot be read."""


class RunNotFound(TraceletError, LookupError):
    """No run in the store answers to this id, prefix or name, or more than one does."""


class FilterError(TraceletError, ValueError):
    """A filter expression cannot be read, or asks for something that no run has."""


class StoreError(TraceletError, OSError):
    """The store's folder cannot be created, read or written."""


class JournalError(TraceletError, ValueError):
    """A file is not a journal, or was written by a newer tracelet than this one."""


class Absent(TraceletError):
    """What a collector would read is not there. Not a failure: said once at debug level."""


class BackendError(TraceletError):
    """The base of what a backend may raise."""


class Unavailable(BackendError):
    """The backend does not answer now; the courier tries again with backoff."""


class Rejected(BackendError):
    """The backend refuses some records for good; they become dead letters and the rest goes on.

    `records`: the refused records, as the backend was given them. `why`: one sentence.
    """

    def __init__(self, records: list[Any], why: str) -> None:
        super().__init__(why)
        self.records = records
        self.why = why


class Misconfigured(BackendError):
    """Nothing can be delivered until the settings are mended. `fix` says what to type."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(f"{why}. {fix}")
        self.why = why
        self.fix = fix
