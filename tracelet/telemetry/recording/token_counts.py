"""Counts the tokens of training batches by shape, padding included; values are never read.

Fed by the Lightning integration where a batch starts and by hand; collected once per window, on the training thread.
"""

from __future__ import annotations

from collections import UserDict
from typing import Any

NAMES = ("input_ids", "token_ids", "tokens", "idx", "decoder_input_ids")
"""Keys of a batch under which tokens are usual, the likeliest first."""
WHOLE_NUMBERS = frozenset({"torch.int64", "torch.int32", "torch.int16"})
"""Types of token ids. Bytes and switches are pictures and masks."""
DEPTH = 2
"""How deep the tokens of a batch are looked for: `({"input_ids": tensor}, label)` is the deepest that is usual."""


class TokenCounts:
    """Tokens and samples of iterations, by their begin, until their window is taken in."""

    def __init__(self) -> None:
        self.enabled = True
        """Whether batches are to be looked into: not once the first one had no tokens."""
        self._known: dict[int, tuple[int, int]] = {}

    def count(self, begin: int, batch: Any) -> None:
        """Count the tokens of the iteration that began then."""
        tokens = tokens_of(batch)
        if tokens is None:
            self.enabled = False
        else:
            self.record(begin, *tokens)

    def record(self, begin: int, tokens: int, samples: int) -> None:
        """Keep the count of the iteration that began then."""
        self._known[begin] = tokens, samples

    def pop(self, begins: list[int]) -> tuple[int, dict[int, int]]:
        """The tokens of these iterations, and samples by begin. What is older was of iterations that never ended."""
        if not self._known:
            return 0, {}
        latest = max(begins)
        known, self._known = self._known, {begin: count for begin, count in self._known.items() if begin > latest}
        found = {begin: known[begin] for begin in begins if begin in known}
        return sum(tokens for tokens, _ in found.values()), {begin: samples for begin, (_, samples) in found.items()}


def tokens_of(batch: Any) -> tuple[int, int] | None:
    """(tokens, samples) of a batch whose token ids are a table of whole numbers, sample by position; None if there is
    none.
    """
    for _ in range(DEPTH):
        # No other mapping: one that loads or draws what it is asked for would notice.
        if isinstance(batch, (dict, UserDict)):
            batch = next((batch[name] for name in NAMES if name in batch), None)
        elif isinstance(batch, (list, tuple)) and batch:
            batch = batch[0]
        else:
            break
    shape = getattr(batch, "shape", None)
    if shape is None or len(shape) != 2 or str(getattr(batch, "dtype", "")) not in WHOLE_NUMBERS:
        return None
    return int(shape[0]) * int(shape[1]), int(shape[0])
