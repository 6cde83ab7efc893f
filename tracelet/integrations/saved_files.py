"""Checkpoints that a library has saved, recorded as references: nothing is copied, moved or read except the size.

Called on the training thread, after the library has saved.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from tracelet.journal.records import Artifact, Scalar

PATIENCE = 1.0
"""Maximum seconds that a checkpoint waits until everything recorded before it is on disk, because a program that
resumes from it does not compute that again.
"""


def checkpoint(path: str | os.PathLike[str], metadata: dict[str, Scalar]) -> Artifact:
    """The record of a checkpoint, a file or a folder."""
    place = os.fspath(path)
    place = place if "://" in place else os.path.abspath(place)
    return Artifact(
        time=time.time_ns() // 1000, name=Path(place).name, path=place, kind="checkpoint", size=size_of(place),
        metadata=dict(metadata),
    )  # fmt: skip


def size_of(path: str) -> int:
    """Bytes of a local file or folder; 0 for a remote one."""
    try:
        if os.path.isdir(path):
            return sum(os.path.getsize(Path(place) / name) for place, _, names in os.walk(path) for name in names)
        return os.path.getsize(path)
    except OSError:
        return 0
