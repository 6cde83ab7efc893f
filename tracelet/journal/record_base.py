"""What all records have in common. Used by the modules that define records; imports nothing of ours."""

from __future__ import annotations

from typing import Annotated

import msgspec

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What readers put into columns of 64 bits; a record with a greater number is damaged, and is left out as such."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of all records. `tracelet.journal.records.KINDS` gives each concrete one its number in the journal."""
