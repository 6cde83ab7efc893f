"""Every exception that tracelet raises on purpose, drawn as a tree.

    TraceletError
     |- SettingsError      an invalid key, value or file of settings                 (also ValueError)
     |- AlreadyActive      start_logging() for a second, different run               (also RuntimeError)
     |- InvalidMetric      a metric name or value that cannot be recorded            (also TypeError)
     |- InvalidArgument    parameters or tags that are not a mapping of names        (also TypeError)
     |- InvalidMedia       an image, table, ... that cannot be recorded             (also TypeError)
     |- ArtifactNotFound   log_artifact() of a path that does not exist              (also FileNotFoundError)
     |- ImportFailed       not a run that an importer can read                      (also ValueError)
     |- SweepError         a configuration of a sweep, or a sweep, that cannot be run        (also ValueError)
     |- FilterError        an invalid filter expression                              (also ValueError)
     |- RunNotFound        no run, or more than one, matches the name given          (also LookupError)
     |- StoreError         the store's folder cannot be used                         (also OSError)
     |- JournalError       not a journal, or written by a newer tracelet             (also ValueError)
     |- Absent             what a collector reads does not exist here (no GPU, no git)
     '- BackendError
         |- Unavailable    retry later
         |   '- Unexplained  an unknown response: retry a limited number of times
         |- Rejected       the backend rejects these records permanently
         '- Misconfigured  nothing is accepted until the settings are fixed

Raised only where the user called us by name; everything that happens on its own goes through `tracelet.guard`.
Every message says what happened, what still works, and what to type.
"""

from __future__ import annotations

from typing import Any


def install_command(extra: str = "") -> str:
    """What to type to install tracelet, with an extra: the one place that knows where tracelet is installed from.

    From a checkout until a release has a name of its own: `tracelet` on PyPI is a package of somebody else.
    """
    return (
        f"pip install '.[{extra}]' (in a checkout of tracelet)"
        if extra
        else "pip install . (in a checkout of tracelet)"
    )


class TraceletError(Exception):
    """The base of all exceptions raised by tracelet."""


class SettingsError(TraceletError, ValueError):
    """A setting is unknown or has an invalid value; the message names the closest known setting."""


class AlreadyActive(TraceletError, RuntimeError):
    """`start_logging()` asked for a second run while one is active in this process."""


class InvalidMetric(TraceletError, TypeError):
    """A metric's name is not a string, or its value is not one number."""


class InvalidArgument(TraceletError, TypeError):
    """Parameters or tags were given in an unsupported type."""


class InvalidMedia(TraceletError, TypeError):
    """An image, figure, histogram, text, table, audio clip, video or 3D object that cannot be recorded."""


class ArtifactNotFound(TraceletError, FileNotFoundError):
    """There is no file or folder at the path given to `log_artifact()`."""


class ImportFailed(TraceletError, ValueError):
    """A path holds no run that an importer knows, or a run whose files cannot be read."""


class RunNotFound(TraceletError, LookupError):
    """No run in the store matches this id, prefix or name, or more than one does."""


class SweepError(TraceletError, ValueError):
    """The configuration of a sweep is wrong, or a sweep cannot be started, found or resumed."""


class FilterError(TraceletError, ValueError):
    """A filter expression cannot be parsed, or uses a name that no run has."""


class QueryError(TraceletError, ValueError):
    """SQL that cannot be run; the message has the engine's own explanation."""


class NotInstalled(TraceletError, ImportError):
    """An optional package is missing; the message says what to type."""


class StoreError(TraceletError, OSError):
    """The store's folder cannot be created, read or written."""


class JournalError(TraceletError, ValueError):
    """A file is not a journal, or was written by a newer tracelet than this one."""


class Absent(TraceletError):
    """What a collector would read does not exist here. Not a failure: logged once at debug level."""


class BackendError(TraceletError):
    """The base of what a backend may raise."""


class Unavailable(BackendError):
    """The backend does not respond at the moment; the courier retries with backoff."""


class Unexplained(Unavailable):
    """The backend got a response that it does not know: it may be an outage or a rejection.

    The courier retries a limited number of times, then finds the rejected records and makes them dead letters.
    """


class Rejected(BackendError):
    """The backend rejects some records permanently; they become dead letters, and delivery continues.

    `records`: the rejected records, as the backend was given them. `why`: one sentence.
    """

    def __init__(self, records: list[Any], why: str) -> None:
        super().__init__(why)
        self.records = records
        self.why = why


class Misconfigured(BackendError):
    """Nothing can be delivered until the settings are fixed. `fix` says what to type."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(f"{why}. {fix}")
        self.why = why
        self.fix = fix
