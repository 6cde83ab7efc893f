"""Tags as they are given: mappings, names, and what is neither."""

from __future__ import annotations

from typing import Any

import pytest

from tracelet.capture.tags import checked_tags
from tracelet.errors import InvalidArgument

KEY = "hf_" + "aBcdEf12gh3Jklmn4pqrsTuv5xyzABcd6f"


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ({"a": "x", "n": 3}, {"a": "x", "n": "3"}), ({"gone": None, "out": ""}, {"gone": "", "out": ""}),
        (["a", "b"], {"a": "true", "b": "true"}), (("a",), {"a": "true"}), ({"a"}, {"a": "true"}), ([], {}), ({}, {}),
        ({"why": f"key={KEY}"}, {"why": "key=***"}),
        ((name for name in "ab"), {"a": "true", "b": "true"}), ({"s\udc80": "\udc80"}, {"s\\udc80": "\\udc80"}),
    ],
)  # fmt: skip
def test_mappings_and_names_are_tags(tags: Any, kept: dict[str, str]) -> None:
    """A name alone is a tag that is true; None and the empty text take one away."""
    assert checked_tags(tags) == kept


@pytest.mark.parametrize("tags", ["abc", 3, None, [3], [("a", "b")], [None]])
def test_what_cannot_be_meant_is_an_error(tags: Any) -> None:
    """One text is no list of letters, and a name is a text; the message says what to type."""
    with pytest.raises(InvalidArgument, match="nothing was recorded.*Give"):
        checked_tags(tags)
