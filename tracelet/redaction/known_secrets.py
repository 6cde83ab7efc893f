"""Removes credentials that this process knows from everything that it records.

Masking by names and shapes (see `masking`) cannot see that a tag, a comment in a diff or an exception's message
contains the key that the program was given; this module compares values. The journal calls it on its writing thread,
once for each record that is not a series; the registry registers the options of backends. It never stores the secrets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from tracelet.redaction.masking import looks_secret

MIN_LENGTH = 8
"""Shorter "secrets" are ordinary words used as passwords; redacting them would black out half a record."""
UNAMBIGUOUS_LENGTH = 16
"""From this length on a secret need not contain both letters and digits: it is not a word."""

_registered: set[str] = set()


def register(options: Mapping[str, Any]) -> None:
    """Register the secrets among the options of a backend."""
    _registered.update(filter(_is_distinctive, find_secrets(options)))


def redact(payload: bytes) -> bytes:
    """The encoded record with each known secret replaced by asterisks of the same length, so its structure stays
    intact.
    """
    for secret in {*_registered, *filter(_is_distinctive, find_secrets(os.environ))}:
        for spelled in {secret, quote(secret, safe="")}:
            found = spelled.encode("utf-8", "surrogateescape")
            if found in payload:
                payload = payload.replace(found, b"*" * len(found))
    return payload


def find_secrets(table: Mapping[str, Any]) -> Iterator[str]:
    """Values under names that look secret, at any depth, and the passwords in URLs."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from find_secrets(value)
        elif isinstance(value, str):
            if looks_secret(str(name)):
                yield value
            elif "@" in value and "://" in value:
                yield from _url_password(value)


def _url_password(address: str) -> Iterator[str]:
    try:
        password = urlsplit(address).password
    except ValueError:
        return
    if password:
        yield password


def _is_distinctive(secret: str) -> bool:
    if len(secret) < MIN_LENGTH or os.path.isabs(secret):  # PWD is not a password, SSH_AUTH_SOCK not a key
        return False
    mixed = any(map(str.isdigit, secret)) and any(map(str.isalpha, secret))
    return mixed or len(secret) >= UNAMBIGUOUS_LENGTH
