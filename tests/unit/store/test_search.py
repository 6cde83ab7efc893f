"""What people type to find runs: words, fields, globs, bare names with slashes, and expressions as before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelet.errors import FilterError
from tracelet.store.search import Search

METRICS = {"val/loss": 0.25, "val/top-1": 0.9}
PARAMS = {"lr": 0.003, "optimizer/0/lr": 0.1, "seed": 2, "frozen": True}
RUN: dict[str, Any] = {
    **METRICS, **PARAMS, "id": "abcd12", "name": "resnet-lr0.003-seed2", "project": "imagenet", "status": "failed",
    "host": "node7", "pinned": False, "tags": {"vision": "true", "team": "A b"}, "metrics": METRICS, "params": PARAMS,
    "min": {}, "max": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("lr0.003 seed2", True), ("seed2 lr0.003", True), ("lr0.003 seed3", False), ("RESNET", True), ("abcd", True),
        ("res*", True), ("*seed?", True), ("net*", False), ("imagenet", True), ("vision", True), ("nothing", False),
        ("status:failed", True), ("status:fail", False), ("status:f*", True), ("status:FAILED res", True),
        ("tag:vision", True), ("tag:vis", False), ("tag:team=a*", True), ('tag:"a b"', True), ("name:seed2", True),
        ("project:image*", True), ("lr:0.003", True), ("seed:3", False), ("metric:val/*", True), ("param:x", False),
        ("val/loss < 0.5", True), ("val/loss<0.2", False), ("val/top-1 > 0.8", True), ("optimizer/0/lr == 0.1", True),
        ("seed2 val/loss < 0.5 status:failed", True), ("seed2 val/loss<0.1", False), ("seed / 2 == 1", True),
        ("val/loss < 0.5 and status == 'failed'", True), ("seed - 1 > 5", False), ("seed/2 == 1", True),
        ("frozen", True), ("pinned", False), ("not frozen", False), ("val/loss * 2 == 0.5", True), ("it's", False),
    ],
)  # fmt: skip
def test_what_is_typed_finds_what_is_meant(text: str, meant: bool) -> None:
    """All terms must match; a name with a slash needs no quotes; an expression means what it meant."""
    search = Search(text)
    search.check_names(RUN)
    assert search.matches(RUN) is meant


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("statsu:failed", "Did you mean 'status'"), ("status == failed", 'status == "failed"'),
        ("seed2 lr <", "cannot be parsed"), ("lr < 0.1 and", "cannot be parsed"), ("val/lss < 1", "Write names"),
        ("lr <", "Example"), ("", "1 to"), ("open('x')", "cannot contain"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_answered_with_what_can(text: str, hint: str) -> None:
    """The error has the nearest name, or how to write it."""
    with pytest.raises(FilterError, match=hint):
        Search(text).check_names(RUN)


def test_the_names_that_are_compared_are_columns_of_a_list() -> None:
    """A name with slashes is one name, and its parts are none."""
    search = Search("seed2 val/loss < 0.5 lr > 0")
    search.check_names(RUN)
    assert search.names == {"val/loss", "lr"}


@given(st.text(max_size=40))
def test_any_text_is_refused_or_answered(text: str) -> None:
    """Whatever is typed gives an answer or a FilterError, never another exception."""
    try:
        search = Search(text)
        search.check_names(RUN)
    except FilterError:
        return
    assert search.matches(RUN) in (True, False)
