"""What people say about a run in the dashboard: another name, tags, a pin. A small file, RUN/dashboard.json.

Written by the dashboard alone, whole or not at all, and read by everybody who reads the run; journals belong to the
processes that wrote them and are never touched. A file that cannot be read counts as none.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

FILE_NAME = "dashboard.json"
MAX_BYTES = 65_536
"""Bytes that are read; nobody writes that much here."""


class Annotations(msgspec.Struct, frozen=True, omit_defaults=True):
    """A name in place of the run's own, and tags over its own (an empty text takes one away)."""

    name: str = ""
    tags: dict[str, str] = {}
    pinned: bool = False
    """Kept at the top of lists."""


_decoder = msgspec.json.Decoder(Annotations)


def read_annotations(run_folder: Path) -> Annotations:
    """What was remarked; nothing if nothing was."""
    try:
        with open(run_folder / FILE_NAME, "rb") as file:
            return _decoder.decode(file.read(MAX_BYTES))
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return Annotations()


def write_annotations(run_folder: Path, remark: Annotations) -> None:
    """Put it in the place of the former one. OSError when the disk refuses it."""
    descriptor, beside = tempfile.mkstemp(prefix=".dashboard.", dir=run_folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(remark))
        os.chmod(beside, 0o644)  # readable like the journals: mkstemp makes it private
        os.replace(beside, run_folder / FILE_NAME)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
