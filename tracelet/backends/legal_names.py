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
    return f"{forbidden.sub(instead, name)[: longest - TRACE - 1]}-{trace(name)}"


def trace(name: str) -> str:
    """A few digits by which two names that would become equal differ."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()[:TRACE]


CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LONGEST_FILE = 180
"""Bytes of one file's name in UTF-8: file systems take 255, and clients put more of their own before and behind it."""


def legal_file(name: str) -> str:
    """A name, perhaps with `/`, each part of which may be a file's name on every system and in every URL."""
    return "/".join(_legal_part(part) for part in name.split("/"))


def _legal_part(part: str) -> str:
    clean = legal(part, CONTROL, LONGEST_FILE) if part else part
    if len(clean.encode("utf-8", "replace")) <= LONGEST_FILE:
        return clean
    room = clean.encode("utf-8", "replace")[: LONGEST_FILE - TRACE - 1].decode("utf-8", "ignore")
    return f"{room}-{trace(part)}"
