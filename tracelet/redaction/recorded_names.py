"""Names of metrics and artifacts without secrets. Called by the writer, on its thread, once for each new name.

A name is an identity: two names that differ in their secrets only stay two names. It never raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from tracelet.journal.records import Artifact, Record
from tracelet.redaction.known_secrets import redact
from tracelet.redaction.masking import mask_text

DIGEST_SIZE = 2
"""Bytes. Enough for the few names that differ in a secret alone, and too few to try passwords on."""


def masked_name(name: str) -> str:
    """The name as it may be recorded: unchanged if it holds no secret, otherwise masked, with a short digest."""
    masked = redact(mask_text(name).encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    if masked == name:
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=DIGEST_SIZE)
    return f"{masked}-{digest.hexdigest()}"


def mask_artifacts(records: Iterable[Record]) -> Iterator[Record]:
    """The records, the artifacts among them under masked names and paths."""
    for record in records:
        if isinstance(record, Artifact):
            yield msgspec.structs.replace(record, name=masked_name(record.name), path=masked_name(record.path))
        else:
            yield record
