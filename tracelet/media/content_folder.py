"""A folder of contents that are named by their digest, so that equal bytes are stored once.

    FOLDER/ab/abcdef...     the bytes whose digest begins with `ab`

Used by the media recorder on its thread, by `Experiment.log_artifact` on the user's, and by readers. A content is
complete under its name or not there: it is written next to it and renamed. Files are copied in blocks, so memory does
not grow with their size.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tracelet.journal.private_files import create_temporary

BLOCK = 1024 * 1024
INCOMING = ".incoming-"
"""Begins the name of a file that is being written; a killed process leaves it behind, and nobody reads it."""
PLAIN_MODE = 0o666
"""The mode of new files, as far as the umask allows it."""


class ContentFolder:
    """Writes and finds contents. Several threads and processes may use one folder."""

    def __init__(self, folder: Path, new_hash: Callable[[], Any] = hashlib.sha256) -> None:
        self.folder = folder
        self._new_hash = new_hash
        self._digest = re.compile(rf"[0-9a-f]{{{2 * new_hash().digest_size}}}")

    def path(self, digest: str) -> Path:
        """The path of a content. FileNotFoundError if the digest is none: it may come from a damaged journal."""
        if not self._digest.fullmatch(digest):
            raise FileNotFoundError(errno.ENOENT, "not a valid digest", digest[:80])
        return self.folder / digest[:2] / digest

    def put(self, content: bytes, mode: int = PLAIN_MODE) -> str:
        """Store bytes; returns their digest."""
        digest = self._new_hash()
        digest.update(content)
        target = self.path(digest.hexdigest())
        if not self._has(target, len(content)):
            descriptor, temporary = self._temporary(mode)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                _move(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        return str(digest.hexdigest())

    def put_file(self, source: Path) -> tuple[str, int]:
        """Copy a file, with its mode; returns its digest and its size."""
        digest, size = self._new_hash(), 0
        with open(source, "rb", buffering=0) as origin:
            descriptor, temporary = self._temporary(os.fstat(origin.fileno()).st_mode)
            try:
                # One pass: the stored bytes are the hashed ones, even if somebody writes to the file meanwhile.
                with os.fdopen(descriptor, "wb") as target:
                    while block := origin.read(BLOCK):
                        digest.update(block)
                        target.write(block)
                        size += len(block)
                _move(temporary, self.path(digest.hexdigest()))
            finally:
                temporary.unlink(missing_ok=True)
        return digest.hexdigest(), size

    def read(self, digest: str) -> bytes:
        """The bytes of a content. FileNotFoundError if it is missing, ValueError if it is damaged."""
        found = self.path(digest).read_bytes()
        check = self._new_hash()
        check.update(found)
        if check.hexdigest() != digest:
            raise ValueError(f"{self.path(digest)} is damaged: its bytes do not have the digest in its name")
        return found

    @staticmethod
    def _has(target: Path, size: int) -> bool:
        try:
            return target.stat().st_size == size  # a power failure may leave an empty file under its final name
        except OSError:
            return False

    def _temporary(self, mode: int) -> tuple[int, Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return create_temporary(self.folder, INCOMING, mode)


def _move(temporary: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with suppress(FileNotFoundError):  # equal bytes of a private file stay private
        os.chmod(temporary, temporary.stat().st_mode & target.stat().st_mode & 0o777)
    os.replace(temporary, target)


FOLDER = "media"
"""The folder of a run's media."""


def media_folder(run_folder: Path) -> ContentFolder:
    """The contents of a run's media."""
    return ContentFolder(run_folder / FOLDER)
