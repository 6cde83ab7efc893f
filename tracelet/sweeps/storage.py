"""Where the trials of a sweep are kept: in a file of the sweep's folder, or in a database that several machines share.

Used by `tracelet.sweeps.study`'s callers when they open a sweep. The file is Optuna's journal: it opens and writes many
times faster than SQLite through SQLAlchemy (see docs/decisions/0131). Its lock is ours, because Optuna's outlives a
killed process for half a minute, and a line that a killed process left half-written is removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import warnings
from pathlib import Path
from typing import Any

from tracelet.errors import SweepError
from tracelet.sweeps.study import import_optuna

FILE_NAME = "trials.journal"
DATABASES = ("postgresql", "mysql", "sqlite")
PASSWORD = re.compile(r"(://[^:/@]+):[^@]*@")


class FileLock:
    """A lock that the operating system releases when its process ends, in the form that Optuna asks for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


def open_storage(folder: Path, url: str) -> Any:
    """The storage of the sweep in this folder; `url` is empty for the file. SweepError if it cannot be opened."""
    optuna = import_optuna()
    if url:
        return _database(optuna, url)
    path, lock = folder / FILE_NAME, FileLock(folder / f"{FILE_NAME}.lock")
    lock.acquire()
    try:
        _remove_torn_line(path)
    finally:
        lock.release()
    # Optuna checks the class of the lock nowhere, and its own base class would be imported for nothing.
    backend = optuna.storages.journal.JournalFileBackend(str(path), lock_obj=lock)
    return optuna.storages.JournalStorage(backend)


def _remove_torn_line(path: Path) -> None:
    """A later line would be appended to it, and Optuna refuses a file with a line that is no JSON."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _database(optuna: Any, url: str) -> Any:
    kind = url.partition(":")[0].partition("+")[0]
    if kind not in DATABASES:
        raise SweepError(f"--storage {without_password(url)!r} is no database URL. E.g. postgresql://user@host/name")
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)  # psycopg 3; SQLAlchemy's default is version 2
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # A controller asks once a second at most: a connection each time needs no care about those that went stale.
            return optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})
        except ImportError as error:
            raise SweepError(f"the database driver is missing ({error}). Type: pip install 'psycopg[binary]'") from None
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise SweepError(f"the storage {without_password(url)} cannot be used: {without_password(first)}") from None


def without_password(text: str) -> str:
    """A URL without its password, as it is recorded and shown."""
    return PASSWORD.sub(r"\1@", text)
