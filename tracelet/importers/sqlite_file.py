"""SQLite files of other trackers, opened so that nothing is written into or beside them. Called by importers.

A database in WAL mode gets files beside it when it is opened, even for reading only. If it has no pending writes it is
opened as immutable; otherwise a copy of it and of its pending writes is read.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

MAGIC = b"SQLite format 3\0"
WAL_MODE_AT, WAL_MODE = 18, b"\x02"
ATTEMPTS = 5
"""Copies of a database that is being written, until one was not disturbed."""


def is_database(path: Path) -> bool:
    """Whether the file begins like an SQLite database."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, read-only. OSError if it cannot be read, also for what SQLite reports inside the block."""
    try:
        with open(path, "rb") as file:
            writes_ahead = file.read(WAL_MODE_AT + 1)[WAL_MODE_AT:] == WAL_MODE
        pending = Path(f"{path}-wal")
        if writes_ahead and pending.is_file() and pending.stat().st_size:
            with (
                tempfile.TemporaryDirectory(prefix="tracelet-import-") as folder,
                _connected(_copied(path, pending, Path(folder)), "mode=rw") as connection,
            ):
                yield connection
        else:
            with _connected(path, "mode=ro&immutable=1" if writes_ahead else "mode=ro") as connection:
                yield connection
    except sqlite3.Error as error:
        raise OSError(f"{path} cannot be read as an SQLite database: {error}") from error


@contextmanager
def _connected(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True)) as connection:
        connection.execute("select 1 from sqlite_master")
        yield connection


def _copied(path: Path, pending: Path, folder: Path) -> Path:
    """A copy of both files, made while neither changed if possible."""
    copy = folder / "copy.db"
    for _ in range(ATTEMPTS):
        before = [_state(path), _state(pending)]
        shutil.copyfile(path, copy)
        shutil.copyfile(pending, f"{copy}-wal")
        if [_state(path), _state(pending)] == before:
            return copy
    raise OSError(f"{path} is being written too often to be copied. Import it again when its program pauses")


def _state(path: Path) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_mtime_ns, stat.st_size


def tables(database: sqlite3.Connection) -> set[str]:
    """The names of its tables."""
    return {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}


def columns(database: sqlite3.Connection, table: str) -> set[str]:
    """The names of a table's columns, which older versions of a tracker may lack."""
    return {row[1] for row in database.execute(f'pragma table_info("{table}")')}
