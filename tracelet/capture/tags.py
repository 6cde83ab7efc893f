"""Converts tags as a program gives them to what the journal stores: names to strings.

Used by `start_logging(tags=...)` and `Experiment.set_tags`, on the user's thread. Records nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tracelet.capture.sanitize import storable_text
from tracelet.errors import InvalidArgument
from tracelet.redaction.masking import mask_text

DEFAULT_VALUE = "true"
"""The value of a tag that was given as a name alone."""
HINT = "nothing was recorded. Give a mapping or a list of names, e.g. set_tags({'stage': 'pilot'}), set_tags(['pilot'])"


def checked_tags(tags: Mapping[str, Any] | Iterable[str]) -> dict[str, str]:
    """Tags from a mapping (None or an empty string removes a tag) or from names; else `InvalidArgument`.

    Secrets in the values are masked as they are in printed text.
    """
    if isinstance(tags, Mapping):
        return {
            storable_text(str(name)): "" if value is None else mask_text(storable_text(str(value)))
            for name, value in tags.items()
        }
    if isinstance(tags, str):
        raise InvalidArgument(
            f"tags are the string {tags[:100]!r}; nothing was recorded. Give a list: tags=[{tags[:100]!r}]"
        )
    if not isinstance(tags, Iterable):
        raise InvalidArgument(f"tags are a {type(tags).__name__}; {HINT}")
    names = list(tags)
    for name in names:
        if not isinstance(name, str):
            raise InvalidArgument(f"a tag name must be a string, not a {type(name).__name__}; {HINT}")
    return {storable_text(name): DEFAULT_VALUE for name in names}
