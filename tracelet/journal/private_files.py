"""Opens files of a run that only their owner may read, or that have the mode of another file, for all who write one.

The mode is given when a file is made, so that the umask of the process counts and no other user can open it before.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PRIVATE = 0o600


def open_private(path: str, flags: int) -> int:
    """For `open(path, mode, opener=open_private)`: a new file is its owner's alone; one that exists stays as it is."""
    return os.open(path, flags | os.O_CLOEXEC, PRIVATE)


def create_temporary(folder: Path, prefix: str, mode: int) -> tuple[int, Path]:
    """A new file in the folder, open for writing, with this mode as far as the umask allows it."""
    path = folder / f"{prefix}{secrets.token_hex(8)}"
    # Its owner must be able to read it, whatever the mode of the original: root copies files that nobody may read.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o777 | 0o400)
    return descriptor, path
