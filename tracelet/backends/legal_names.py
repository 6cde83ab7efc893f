"""Names made legal for a system that does not take all of them, so that no two of ours become one of theirs.

Used by concrete backends. The same name always becomes the same legal name: nothing has to be remembered.
"""

from __future__ import annotations

import hashlib
import re

TRACE = 6
"""Hexadecimal digits that tell apart what became equal; sixteen million to one against two names of a run."""


def legal(name: str, forbidden: re.Pattern[str], longest: int, instead: str = "_") -> str:
    """The name where it is legal; else with forbidden characters replaced, cut, ended by a trace of the original."""
    if name and len(name) <= longest and not forbidden.search(name):
        return name
    trace = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()[:TRACE]
    return f"{forbidden.sub(instead, name)[: longest - TRACE - 1]}-{trace}"
