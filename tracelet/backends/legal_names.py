"""Makes names legal for a system that restricts them, without two of our names becoming the same.

Used by concrete backends. The same name always becomes the same legal name, so nothing has to be stored.
"""

from __future__ import annotations

import hashlib
import re

HASH_LENGTH = 6
"""Hexadecimal digits that distinguish colliding names; sixteen million to one against two names of a run."""


def legal_name(name: str, forbidden: re.Pattern[str], max_length: int, replacement: str = "_") -> str:
    """The name if it is legal; else with forbidden characters replaced, truncated, and with a hash of the original
    appended.
    """
    if name and len(name) <= max_length and not forbidden.search(name):
        return name
    return f"{forbidden.sub(replacement, name)[: max_length - HASH_LENGTH - 1]}-{trace(name)}"


def trace(name: str) -> str:
    """A few digits that distinguish two names that would otherwise collide."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()[:HASH_LENGTH]


CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LONGEST_FILE = 180
"""Bytes of a file name in UTF-8: file systems take 255, and clients add prefixes and suffixes of their own."""


def legal_file(name: str) -> str:
    """A name, possibly with `/`, whose parts are valid file names on every system and in every URL."""
    return "/".join(_legal_part(part) for part in name.split("/"))


def _legal_part(part: str) -> str:
    clean = legal_name(part, CONTROL, LONGEST_FILE) if part else part
    if len(clean.encode("utf-8", "replace")) <= LONGEST_FILE:
        return clean
    room = clean.encode("utf-8", "replace")[: LONGEST_FILE - HASH_LENGTH - 1].decode("utf-8", "ignore")
    return f"{room}-{trace(part)}"
