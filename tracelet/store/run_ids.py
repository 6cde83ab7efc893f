"""Ids of runs: short, easy to read and to type, and always the same for the same text. Pure."""

from __future__ import annotations

import hashlib

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that is taken for another."""
ID_LENGTH = 10
"""50 bits: among 100,000 runs two share an id with a probability of one in 200,000."""


def short_id(text: str) -> str:
    """An id that stands for the text: the same one everywhere, and never that of another text."""
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return "".join(ALPHABET[number >> 5 * place & 31] for place in range(ID_LENGTH))
