"""The progress of the delivery of a run to one backend: a small file beside the journals, RUN/delivery/NAME.json.

Written by one courier at a time, only after the backend has taken a batch; read by anyone: the waiting of
`stop_logging()`, the run's `deliveries`, the command line, the dashboard. It never holds a credential. A file that
cannot be read counts as none: delivery then begins anew, and backends recognise what they have.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tracelet.errors import SettingsError
from tracelet.journal.private_files import open_private

FOLDER = "delivery"
WAITING, OPENING, OK, OFFLINE, MISCONFIGURED, DONE = "waiting", "opening", "ok", "offline", "misconfigured", "done"
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
"""What may be a file's name on every system."""


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """The batch that was begun last: if it is sent again, it must be identical."""

    journal: str
    start: tuple[int, int]
    stop: tuple[int, int]


class Delivery(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The state of one backend's delivery. Times are seconds since the epoch."""

    backend: str
    state: str = WAITING
    cursors: dict[str, tuple[int, int]] = {}
    """Journal's file name to (number of the next frame, its offset)."""
    pending: Pending | None = None
    file_cursors: dict[str, tuple[int, int]] = {}
    """The same for files, if the backend receives these separately."""
    file_pending: Pending | None = None
    every_rank: bool = False
    """Whether the backend requests the spans of all ranks: then their journals count as pending, too."""
    memory: dict[str, Any] = {}
    """State that the backend asked to store, such as the remote run's id."""
    url: str = ""
    points: int = 0
    """Points delivered so far."""
    batches: int = 0
    rejected: int = 0
    """Records that the backend refused permanently; they are in NAME.dead.jsonl."""
    error: str = ""
    """The current or last error."""
    fix: str = ""
    """What to type to fix it, if it is misconfigured."""
    since: float = 0.0
    """Since when it has been offline."""
    updated: float = 0.0
    files_error: str = ""
    """Why files are not delivered, while everything else is."""
    repairing: bool = False
    """Whether everything is sent again, and only what the backend lacks is delivered, until it is done."""
    renamed: dict[str, str] = {}
    """Names that the backend does not accept: ours to the one used there."""


_decoder = msgspec.json.Decoder(Delivery)


def checked_name(name: str) -> str:
    """The name of a backend, which is to be a file's name. SettingsError if it cannot be one."""
    if not NAME_PATTERN.fullmatch(name):
        raise SettingsError(f"backend {name!r}: a backend name consists of lowercase letters, digits, '_', '-' and '.'")
    return name


def state_path(run_folder: Path, backend: str) -> Path:
    """The path of the state file."""
    return run_folder / FOLDER / f"{checked_name(backend)}.json"


def read(run_folder: Path, backend: str) -> Delivery | None:
    """The state of one delivery; None if there is none, or it is unreadable."""
    try:
        return _decoded(state_path(run_folder, backend).read_bytes())
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _decoded(content: bytes) -> Delivery:
    try:
        return _decoder.decode(content)
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(content), Delivery)


def _encoded(delivery: Delivery) -> bytes:
    try:
        return msgspec.json.format(msgspec.json.encode(delivery), indent=1)
    except UnicodeEncodeError:  # it names a folder or a file whose name is no text: only Python's own JSON has that
        return json.dumps(msgspec.to_builtins(delivery), indent=1).encode()


def read_all(run_folder: Path) -> Iterator[Delivery]:
    """The states of all deliveries of a run, by name."""
    for path in sorted((run_folder / FOLDER).glob("*.json")):
        if NAME_PATTERN.fullmatch(path.stem) and (delivery := read(run_folder, path.stem)) is not None:
            yield delivery


def write(run_folder: Path, delivery: Delivery) -> None:
    """Replace the state atomically. OSError if the disk refuses it."""
    path = state_path(run_folder, delivery.backend)
    path.parent.mkdir(exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}")
    try:
        with open(beside, "wb", opener=open_private) as file:
            file.write(_encoded(delivery))
            file.flush()
            os.fsync(file.fileno())  # what is sent next counts on it, also after a power failure
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
