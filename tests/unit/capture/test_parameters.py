"""Hyperparameters as they are recorded: flat, plain, bounded, without secrets, and without running anybody's code."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import types
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given as given_by
from hypothesis import strategies as st

from tracelet.capture.parameters import (
    MAX_DEPTH,
    MAX_FLATTENED_LIST,
    MAX_NAMES,
    MAX_TEXT,
    checked_params,
    flatten,
    to_scalar,
)
from tracelet.errors import InvalidArgument


class Color(enum.Enum):
    """An enumeration."""

    RED = "red"


@dataclasses.dataclass
class Config:
    """A configuration."""

    lr: float = 0.1
    inner: Any = None


CASES: list[tuple[Any, Any]] = [
    (None, None), (True, True), (3, 3), (0.5, 0.5), ("text", "text"), (Color.RED, "red"), (Path("/a/b"), "/a/b"),
    ([1, 2.0, "x", None], "[1, 2.0, x, None]"), ((1,), "[1]"), ({"b", "a"}, "[a, b]"), (2**63 - 1, 2**63 - 1),
    (2**63, str(2**63)), (-(2**70), str(-(2**70))), (10**4000, hex(10**4000)), (np.float32(0.5), 0.5), (np.int64(3), 3),
    (np.bool_(True), True), (np.array(1.5), 1.5), (np.zeros((2, 3)), "ndarray(2x3, float64)"), (torch.tensor(1.5), 1.5),
    (torch.zeros(2, 3), "Tensor(2x3, torch.float32)"), (torch.float32, "torch.float32"), (Color, f"{__name__}.Color"),
    (np.longdouble(0.5), "0.5"), (torch.nn.functional.relu, "torch.nn.functional.relu"),
    (object(), "builtins.object"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "recorded"), CASES, ids=[str(number) for number in range(len(CASES))])
def test_values_become_plain(value: Any, recorded: Any) -> None:
    """Numbers and texts stay, small containers are written out, everything else is described."""
    assert to_scalar(value) == recorded
    assert type(to_scalar(value)) is type(recorded)


def test_nested_names_are_joined() -> None:
    """Mappings, namespaces and dataclasses become one level, in their order; an empty one is described."""
    values = {"a": {"b": argparse.Namespace(c=1)}, "d": Config(inner={"e": [1]}), 5: 6, "empty": {}}
    assert flatten(values) == {"a/b/c": 1, "d/lr": 0.1, "d/inner/e": "[1]", "5": 6, "empty": "{}"}
    assert flatten(Config()) == {"lr": 0.1, "inner": None}
    assert flatten(3) == {}


def test_lists_of_mappings_are_nested() -> None:
    """The places of a short list that holds mappings are names; lists of scalars and long ones are written out."""
    values = {
        "x": [{"lr": 0.1, "betas": [0.9, 0.99], "api_key": "k"}, "last"], "y": (Config(inner=[{"a": 1}]),),
        "z": [[1, 2], [3]], "long": [{"a": 1}] * (MAX_FLATTENED_LIST + 1),
    }  # fmt: skip
    found = flatten(values)
    assert str(found.pop("long")).startswith("[{a: ...}")
    assert found == {
        "x/0/lr": 0.1, "x/0/betas": "[0.9, 0.99]", "x/0/api_key": "***", "x/1": "last",
        "y/0/lr": 0.1, "y/0/inner/0/a": 1, "z": "[[1, 2], [3]]",
    }  # fmt: skip


def test_what_has_no_names_is_an_error() -> None:
    """Parameters are a mapping, a namespace or a dataclass; anything else raises what says so, also as TypeError."""
    assert checked_params({}) == {}
    assert checked_params(types.SimpleNamespace(lr=0.1)) == checked_params(argparse.Namespace(lr=0.1)) == {"lr": 0.1}
    for wrong in ("abc", [("lr", 1)], 3, None, Config):
        with pytest.raises(InvalidArgument, match="nothing was recorded") as caught:
            checked_params(wrong)
        assert isinstance(caught.value, TypeError)


def test_secrets_are_masked() -> None:
    """A value whose name says that it is secret is not recorded; an empty one or None shows that there is none."""
    found = flatten({"api_key": "abc", "nested": {"password": 1}, "token": "", "secret": None, "tokens": 3})
    assert (found["api_key"], found["nested/password"], found["token"], found["secret"]) == ("***", "***", "", None)


def test_what_is_endless_is_cut() -> None:
    """Long texts, long lists, deep and self-containing structures end, quickly."""
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    loop: list[Any] = []
    loop.append(loop)
    wide: list[Any] = [0] * 100
    for _ in range(8):
        wide = [wide] * 100
    shared: dict[str, Any] = {"x": 1}
    for _ in range(MAX_DEPTH):
        shared = {"list": [shared] * MAX_FLATTENED_LIST}
    mappings: dict[str, Any] = {}
    mappings["list"] = [mappings] * MAX_FLATTENED_LIST
    assert len(flatten({"shared": shared})) + len(flatten(mappings)) < 3 * MAX_NAMES
    found = flatten({"text": "x" * 10**6, "list": list(range(10**6)), "cycle": cycle, "loop": loop, "wide": wide})
    assert all(len(str(value)) < MAX_TEXT + 100 for value in found.values())
    assert str(found["text"]).endswith("(1000000 characters)")
    assert str(found["list"]).endswith("... 999900 more]")


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.just(object())),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner), st.tuples(inner, inner)),
)


@given_by(st.dictionaries(st.one_of(st.text(), st.integers()), ANYTHING))
def test_anything_can_be_stored(values: dict[Any, Any]) -> None:
    """Whatever a program passes, what is recorded is one level of scalars that the journal takes."""
    found = flatten(values)
    assert all(value is None or isinstance(value, (str, int, float)) for value in found.values())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found)).keys() == found.keys()
