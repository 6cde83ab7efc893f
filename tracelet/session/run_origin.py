"""Tells the runs of this user from those that came with a foreign store, by a signature in a run's first record.

The session signs where a run delivers to, on the thread that starts it; `tracelet sync` and `doctor` verify. The key is
in a file of this user, made by the first run that has a backend, and never leaves it. It never raises: without a key
there is no signature, and the run counts as foreign.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

import msgspec

from tracelet.journal.records import Started
from tracelet.redaction.known_secrets import redact

KEY_NAME = "origin.key"
KEY_BYTES = 32


def signed(started: Started) -> Started:
    """The record with the signature of this user over its destinations; as it is if it has none."""
    key = _key(create=True) if started.backends else b""
    return msgspec.structs.replace(started, origin=_signature(key, started) if key else "")


def is_own(started: Started) -> bool:
    """Whether this user recorded the destinations of the run, exactly as they are in the record."""
    key = _key(create=False) if started.origin else b""
    # As bytes: a foreign record may hold any string, and strings that are not ASCII cannot be compared.
    given = started.origin.encode("utf-8", "surrogatepass")
    return bool(key) and hmac.compare_digest(_signature(key, started).encode(), given)


def _signature(key: bytes, started: Started) -> str:
    # Redacted as the journal will be. What a relative path means depends on the folder, so it is signed as well.
    content = json.dumps([started.run, started.folder, started.backends], sort_keys=True, default=str)
    return hmac.new(key, redact(content.encode()), "sha256").hexdigest()


def _key(create: bool) -> bytes:
    from platformdirs import user_state_path

    with suppress(OSError):
        path = user_state_path("tracelet", appauthor=False) / KEY_NAME
        if create and not path.exists():
            _create(path)
        key = path.read_bytes()
        return key if len(key) == KEY_BYTES else b""
    return b""


def _create(path: Path) -> None:
    """Make the key, whole at once: other ranks of this user do the same now."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{KEY_NAME}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink()
