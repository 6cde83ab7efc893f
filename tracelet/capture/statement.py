"""Identifies the statement of the program that is being executed, as it was reached: the same in each round of a loop.

Called on the user's thread where a program gives parameters, never in a step. Reads frames and keeps none of them.
"""

from __future__ import annotations

import sys
import zlib

DEEPEST = 50
"""Callers that count; deeper ones are a framework's."""


def calling_statement() -> str:
    """Eight hexadecimal digits for the chain of lines that led to our caller."""
    frame = sys._getframe(1)
    digest, depth = 0, 0
    caller = frame.f_back
    while caller is not None and depth < DEEPEST:
        digest = zlib.crc32(f"{caller.f_code.co_filename}:{caller.f_lineno}".encode("utf-8", "replace"), digest)
        caller, depth = caller.f_back, depth + 1
    return f"{digest:08x}"
