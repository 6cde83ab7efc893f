"""Changes made in the dashboard: a run's name, tags, pin, and goals of its metrics. A small file, RUN/annotations.json.

Only the dashboard writes it, atomically; every reader of the run reads it. Journals belong to the processes that wrote
them and are never modified. An unreadable file counts as empty. Earlier versions named the file dashboard.json, which
is read if there is no annotations.json.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from tracelet.journal.private_files import create_temporary

FILE_NAME = "annotations.json"
OLD_FILE_NAME = "dashboard.json"
MAX_BYTES = 1 << 20
"""Maximum bytes read; the dashboard never writes that much."""


class Annotations(msgspec.Struct, frozen=True, omit_defaults=True):
    """A name that replaces the run's own, and tags that override its own (an empty value removes one)."""

    name: str = ""
    tags: dict[str, str] = {}
    pinned: bool = False
    """Listed before other runs."""
    archived: bool = False
    """Left out of lists."""
    goals: dict[str, str] = {}
    """By metric: `min` where lower is better, `max` where higher is better, `unknown` for neither."""


_decoder = msgspec.json.Decoder(Annotations)


def read_annotations(run_folder: Path) -> Annotations:
    """The annotations of a run; empty if there are none."""
    for name in (FILE_NAME, OLD_FILE_NAME):
        try:
            with open(run_folder / name, "rb") as file:
                return _decoder.decode(file.read(MAX_BYTES))
        except FileNotFoundError:
            continue
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
            break
    return Annotations()


def write_annotations(run_folder: Path, annotations: Annotations) -> None:
    """Replace the annotations of a run. OSError if the disk refuses it."""
    descriptor, temporary = create_temporary(run_folder, ".annotations.", 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(annotations))
        os.replace(temporary, run_folder / FILE_NAME)
        (run_folder / OLD_FILE_NAME).unlink(missing_ok=True)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
