"""Gives a record the fit that ran when it was emitted. Used by the packer, on its thread; pure."""

from __future__ import annotations

import msgspec

from tracelet.journal.records import Artifact, Params, Record


def of_fit(record: Record, fit: int) -> Record:
    """The record, of the fit that runs unless it names one itself."""
    if not fit:
        return record
    if isinstance(record, Params) and not record.fit:
        return msgspec.structs.replace(record, fit=fit)
    if isinstance(record, Artifact) and "fit" not in record.metadata:
        return msgspec.structs.replace(record, metadata={**record.metadata, "fit": fit})
    return record
