"""Filter expressions: what they mean, what they refuse, and that nothing in them is executed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelet.errors import FilterError
from tracelet.store.filtering import MAX_DEPTH, Filter

RUN: dict[str, Any] = {
    "name": "resnet", "status": "finished", "lr": 0.01, "depth": 18, "frozen": True, "note": None,
    "nan": float("nan"), "metrics": {"val/loss": 0.25}, "min": {"val/loss": 0.125}, "max": {},
    "params": {"opt-lr": 1}, "tags": {"a": "b"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "meant"),
    [
        ("lr < 0.05", True), ("lr < 0.01", False), ("lr <= 0.01 and depth == 18", True), ("0.001 < lr < 0.1", True),
        ("0.1 < lr < 1", False), ("depth > 10 and not frozen", False), ("status in ('failed', 'finished')", True),
        ("'res' in name", True), ("'x' not in name", True), ('metrics["val/loss"] < 0.3', True),
        ("min['val/loss'] == 0.125", True), ("max['val/loss'] > 0", False), ("params['opt-lr'] == 1", True),
        ("tags['a'] == 'b'", True), ("depth / 2 == 9", True), ("depth - 1 > 17", False), ("-lr < 0", True),
        ("note == None", True), ("frozen", True), ("frozen == True", True), ("depth % 2 == 0 or frozen", None),
        ("missing == 1", False), ("missing != 1", False), ("not missing", True), ("name < 3", False),
        ("lr < name", False), ("nan < 1", False), ("nan != nan", True), ("1 / 0 == 1", False), ("'a' * 9 == 1", False),
        ("  lr == 0.01  ", True),
    ],
)  # fmt: skip
def test_expressions_mean_what_they_say(expression: str, meant: bool | None) -> None:
    """Comparisons, logic and arithmetic as in Python; what a run lacks compares as false."""
    if meant is None:
        with pytest.raises(FilterError):
            Filter(expression)
    else:
        assert Filter(expression).matches(RUN) is meant


@pytest.mark.parametrize(
    "expression",
    [
        "", "   ", "lr <", "lr = 1", "open('x')", "name.upper()", "().__class__", "lr ** 9 ** 9", "lambda: 1",
        "[x for x in y]",
        "metrics", "metrics[0]", "metrics[name]", "other['x']", "metrics['a']['b']", "f'{name}'", "lr if 1 else 2",
        "lr is None",
        "(lr := 1)", "a; b", "b'x' == 1", "1j", "...", "x" * 3000, "(" * 300 + "1" + ")" * 300, "not " * 200 + "x",
        "*a", "a[1:2]",
    ],
)  # fmt: skip
def test_everything_else_is_refused(expression: str) -> None:
    """Calls, attributes, powers, code and nonsense are errors of ours, when the expression is read."""
    with pytest.raises(FilterError):
        Filter(expression)


def test_refusals_say_how_to_write_it() -> None:
    """A refused expression is answered with one that works."""
    with pytest.raises(FilterError, match="Example"):
        Filter("lr <")
    with pytest.raises(FilterError, match=r'metrics\["val/loss"\]'):
        Filter("val/loss() < 1")


def test_unknown_names_are_errors() -> None:
    """A name that no run has is an error with the nearest name; a name with a slash is answered with its spelling."""
    with pytest.raises(FilterError, match="Did you mean 'status'"):
        Filter("satus == 'x'").check_names(RUN)
    with pytest.raises(FilterError, match="Write names that contain / or -"):
        Filter("val/lss < 1").check_names(RUN)
    with pytest.raises(FilterError, match='put it in quotes, status == "failed"'):
        Filter("status == failed").check_names(RUN)
    Filter("lr < 1 and name == 'x'").check_names(RUN)


def test_nesting_has_an_end() -> None:
    """What is nested deeper than the limit is refused, what is less deep works."""
    assert Filter("not " * (MAX_DEPTH // 2 * 2) + "frozen").matches(RUN)
    with pytest.raises(FilterError, match="deep"):
        Filter("not " * (MAX_DEPTH + 2) + "frozen")


TOKENS = [
    "lr",
    "name",
    "metrics",
    '["val/loss"]',
    "<",
    "==",
    "and",
    "or",
    "not",
    "(",
    ")",
    "1",
    "'a'",
    "+",
    "-",
    "/",
    "in",
    ",",
    "[",
]


@given(st.lists(st.sampled_from(TOKENS), max_size=12) | st.text(max_size=30).map(lambda text: [text]))
def test_any_text_is_refused_or_answered(tokens: list[str]) -> None:
    """Whatever is typed gives an answer or a FilterError, never another exception."""
    try:
        chosen = Filter(" ".join(tokens))
    except FilterError:
        return
    assert chosen.matches(RUN) in (True, False)
