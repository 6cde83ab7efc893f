"""The credentials that this process knows, taken out of what it records wherever they turn up.

Masking by names and shapes (see `masking`) cannot see that a tag, a comment of a diff or the text of an exception
holds the key that the program was given; this module compares. Used by the journal on the thread that writes it, once
for each record that is no series; the registry teaches it the options of backends. It never stores what it knows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from tracelet.redaction.masking import looks_secret

MIN_LENGTH = 8
"""Shorter "secrets" are words that happen to stand in a password's place, and would black out half a record."""
UNAMBIGUOUS_LENGTH = 16
"""From this length on a secret need not hold both letters and digits: it is no word."""

_registered: set[str] = set()


def register(options: Mapping[str, Any]) -> None:
    """Take note of the secrets among the options of a backend."""
    _registered.update(filter(_is_distinctive, find_secrets(options)))


def redact(payload: bytes) -> bytes:
    """The encoded record with as many stars as each known secret is long: its structure stays as it is."""
    for secret in {*_registered, *filter(_is_distinctive, find_secrets(os.environ))}:
        for spelled in {secret, quote(secret, safe="")}:
            found = spelled.encode("utf-8", "surrogateescape")
            if found in payload:
                payload = payload.replace(found, b"*" * len(found))
    return payload


def find_secrets(table: Mapping[str, Any]) -> Iterator[str]:
    """Values under names that look secret, at any depth, and the passwords of addresses."""
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
    if len(secret) < MIN_LENGTH or os.path.isabs(secret):  # PWD is no password, SSH_AUTH_SOCK no key
        return False
    mixed = any(map(str.isdigit, secret)) and any(map(str.isalpha, secret))
    return mixed or len(secret) >= UNAMBIGUOUS_LENGTH
