"""Folders that a source keeps as they are or in a zip file: their files by name. Used by importers; reads only."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tracelet.errors import ImportFailed

LONGEST_LINE = 64 * 1024 * 1024
LARGEST_FILE = 256 * 1024 * 1024
"""Maximum bytes of a file that is read at once."""


def names(path: Path) -> set[str]:
    """The names of the files; none if it is neither a folder nor a zip file."""
    if path.is_dir():
        return {one.name for one in path.iterdir() if one.is_file()}
    try:
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return set()


def lines(path: Path, name: str) -> Iterator[str]:
    """The complete lines of one of its files; none if it does not exist. ImportFailed if it cannot be unpacked."""
    try:
        if path.is_dir():
            if (path / name).is_file():
                with open(path / name, "rb") as file:
                    yield from _lines(file, path, name)
        elif name in names(path):
            with zipfile.ZipFile(path) as archive, archive.open(name) as packed:
                yield from _lines(packed, path, name)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ImportFailed(f"{path} cannot be unpacked: {error}") from None


def _lines(file: IO[bytes], path: Path, name: str) -> Iterator[str]:
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise ImportFailed(f"{name} of {path} has a line of more than {LONGEST_LINE:,} bytes")
        yield line.decode("utf-8", errors="replace")


def text(path: Path, name: str) -> str:
    """The content of one of its files; empty if it does not exist."""
    found: list[str] = []
    size = 0
    for line in lines(path, name):
        size += len(line)
        if size > LARGEST_FILE:
            raise ImportFailed(f"{name} of {path} has more than {LARGEST_FILE:,} characters")
        found.append(line)
    return "".join(found)


def json_object(path: Path, name: str) -> dict[str, Any]:
    """One of its files as a JSON object; empty for another value. ImportFailed if it is no JSON, or does not exist."""
    try:
        found = json.loads(text(path, name))
    except (ValueError, RecursionError) as error:
        raise ImportFailed(f"{path} is damaged: {name} cannot be read: {error}") from None
    return found if isinstance(found, dict) else {}
