"""Hyperparameters as they are recorded: flat, plain, bounded, without secrets, and without running anybody's code."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import msgspec
import numpy as np
import pydantic
import pytest
import torch
from hypothesis import given as given_by
from hypothesis import strategies as st
from ml_collections import ConfigDict, config_dict
from omegaconf import OmegaConf

from tracelet.capture.parameter_values import MAX_DEPTH, MAX_TEXT, to_scalar
from tracelet.capture.parameters import MAX_FLATTENED_LIST, MAX_NAMES, checked_params, flatten
from tracelet.errors import InvalidArgument


class Color(enum.Enum):
    """An enumeration."""

    RED = "red"


class Kernel(enum.Enum):
    """An enumeration whose values are no plain ones."""

    WIDE = ("wide", 7)


@dataclasses.dataclass
class Config:
    """A configuration."""

    lr: float = 0.1
    inner: Any = None


class Model(pydantic.BaseModel):
    """A configuration of pydantic."""

    lr: float = 0.1
    layers: list[int] = [1, 2]


@attrs.define
class Data:
    """A configuration of attrs."""

    root: str = "/data"


class Stage(msgspec.Struct):
    """A configuration of msgspec."""

    epochs: int = 3


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: int


class Plain:
    """A configuration without any library."""

    depth = 3

    def __init__(self) -> None:
        self.width = 4
        self._cache = object()


class Broken(Mapping[str, Any]):
    """A mapping of which one entry cannot be read, and one raises when it is written out."""

    def __getitem__(self, name: str) -> Any:
        if name == "gone":
            raise RuntimeError
        return {"lr": 0.1, "odd": Odd("x")}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("gone", "odd", "lr"))

    def __len__(self) -> int:
        return 3


def connected(rank: int, lr: float, password: str) -> None:
    """A function of a program."""


class Odd(str):
    """A string that cannot be converted."""

    __slots__ = ()

    def __str__(self) -> str:
        raise ValueError


CASES: list[tuple[Any, Any]] = [
    (None, None), (True, True), (3, 3), (0.5, 0.5), ("text", "text"), (Color.RED, "red"), (Path("/a/b"), "/a/b"),
    ([1, 2.0, "x", None], "[1, 2.0, x, None]"), ((1,), "[1]"), ({"b", "a"}, "[a, b]"), (2**63 - 1, 2**63 - 1),
    (2**63, str(2**63)), (-(2**70), str(-(2**70))), (10**4000, hex(10**4000)), (np.float32(0.5), 0.5), (np.int64(3), 3),
    (np.bool_(True), True), (np.array(1.5), 1.5), (np.zeros((2, 3)), "ndarray(2x3, float64)"), (torch.tensor(1.5), 1.5),
    (torch.zeros(2, 3), "Tensor(2x3, torch.float32)"), (torch.float32, "torch.float32"), (Color, f"{__name__}.Color"),
    (np.longdouble(0.5), "0.5"), (torch.nn.functional.relu, "torch.nn.functional.relu"),
    (object(), "builtins.object"), (datetime.timedelta(hours=2), "2:00:00"), (range(3), "range(0, 3)"),
    (datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc), "2020-01-02T00:00:00+00:00"),
    (datetime.date(2020, 1, 2), "2020-01-02"),
    (decimal.Decimal("0.1"), 0.1), (decimal.Decimal("0.1234567890123456789"), "0.1234567890123456789"),
    (fractions.Fraction(1, 3), "1/3"), (collections.deque([1, 2]), "[1, 2]"), (np.dtype("float32"), "float32"),
    (torch.device("cpu"), "cpu"), (Kernel.WIDE, "WIDE"), (np.array([0.5, 1.0]), "[0.5, 1.0]"),
    (torch.tensor([1, 2]), "[1, 2]"), (torch.tensor([1, 2], device="meta"), "Tensor(2, torch.int64)"),
    (functools.partial(connected, 1, lr=0.1, password="x"),
     f"partial({__name__}.connected, 1, lr=0.1, password=***)"),
    ([{"a": 1, "token": "x"}, Config()], "[{a: 1, token: ***}, Config(lr=0.1, inner=None)]"),
    (pydantic.SecretStr("x"), "***"), (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    (torch.nn.ModuleDict({"a": torch.nn.ReLU()}), "torch.nn.modules.container.ModuleDict"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "recorded"), CASES, ids=[str(number) for number in range(len(CASES))])
def test_values_become_plain(value: Any, recorded: Any) -> None:
    """Numbers and texts stay, small containers are written out, everything else is described."""
    assert to_scalar(value) == recorded
    assert type(to_scalar(value)) is type(recorded)


def test_nested_names_are_joined() -> None:
    """Mappings, namespaces and dataclasses become one level, in their order; an empty one is described."""
    values = {"a": {"b": argparse.Namespace(c=1)}, "d": Config(inner={"e": [1]}), 5: 6, "empty": {}}
    found = flatten(values)
    assert found.pop("d/class") == f"{__name__}.Config"
    assert found == {"a/b/c": 1, "d/lr": 0.1, "d/inner/e": "[1]", "5": 6, "empty": "{}"}
    assert flatten(Config()) == {"lr": 0.1, "inner": None}
    assert flatten(3) == {}


def test_lists_of_mappings_are_nested() -> None:
    """The places of a short list that holds mappings are names; lists of scalars and long ones are written out."""
    values = {
        "x": [{"lr": 0.1, "betas": [0.9, 0.99], "api_key": "k"}, "last"], "y": (Config(inner=[{"a": 1}]),),
        "z": [[1, 2], [3]], "long": [{"a": 1}] * (MAX_FLATTENED_LIST + 1),
    }  # fmt: skip
    found = flatten(values)
    assert str(found.pop("long")).startswith("[{a: 1}")
    assert found == {
        "x/0/lr": 0.1, "x/0/betas": "[0.9, 0.99]", "x/0/api_key": "***", "x/1": "last",
        "y/0/class": f"{__name__}.Config", "y/0/lr": 0.1, "y/0/inner/0/a": 1, "z": "[[1, 2], [3]]",
    }  # fmt: skip


def test_configurations_of_any_library_are_nested() -> None:
    """Objects with fields are nested under their names, with their class, whichever library declared the fields."""
    values = {
        "p": Model(), "a": Data(), "m": Stage(), "n": Point(1, 2), "o": Plain(),
        "c": ConfigDict({"b": {"lr": 0.1}}),
    }  # fmt: skip
    found = flatten(values)
    classes = {name: found.pop(name) for name in list(found) if name.endswith("/class")}
    assert classes == {
        f"{name}/class": f"{__name__}.{kind}"
        for name, kind in (("p", "Model"), ("a", "Data"), ("m", "Stage"), ("n", "Point"), ("o", "Plain"))
    }
    assert found == {
        "p/lr": 0.1, "p/layers": "[1, 2]", "a/root": "/data", "m/epochs": 3, "n/x": 1, "n/y": 2, "o/depth": 3,
        "o/width": 4, "c/b/lr": 0.1,
    }  # fmt: skip
    assert checked_params(Model()) == {"lr": 0.1, "layers": "[1, 2]"}
    assert checked_params(Plain()) == {"depth": 3, "width": 4}


def test_lists_and_missing_values_of_omegaconf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of a configuration are written out or nested like others; a missing value is recorded as it is written."""
    monkeypatch.delenv("NOT_THERE", raising=False)
    config = OmegaConf.create({
        "layers": [64, 128], "optimizers": [{"lr": 0.1}], "out": "???", "home": "${oc.env:NOT_THERE}",
        "same": "${layers}", "n": {"betas": [0.9, 0.99]},
    })  # fmt: skip
    expected = {
        "layers": "[64, 128]", "optimizers/0/lr": 0.1, "out": "???", "home": "${oc.env:NOT_THERE}", "same": "[64, 128]",
        "n/betas": "[0.9, 0.99]",
    }  # fmt: skip
    assert checked_params(config) == expected
    assert flatten({"cfg": config, "depth": 3}) == {f"cfg/{name}": value for name, value in expected.items()} | {
        "depth": 3
    }
    assert flatten({"layers": config.layers}) == {"layers": "[64, 128]"}


def test_an_entry_that_cannot_be_read_costs_no_other() -> None:
    """An entry whose own code raises is recorded as unreadable, and all others as they are."""
    broken = {"gone": "unreadable (RuntimeError)", "odd": "unreadable (ValueError)", "lr": 0.1}
    assert checked_params(Broken()) == broken
    assert flatten({"b": Broken(), "list": [1, Odd("x")], "last": 1}) == {
        **{f"b/{name}": value for name, value in broken.items()}, "list": "[1, unreadable (ValueError)]", "last": 1
    }  # fmt: skip
    placeholder = ConfigDict({"a": config_dict.required_placeholder(int), "b": 1})
    assert flatten({"c": placeholder}) == {"c/a": "unreadable (RequiredValueError)", "c/b": 1}


def test_what_has_no_names_is_an_error() -> None:
    """Parameters are a mapping, a namespace or a dataclass; anything else raises what says so, also as TypeError."""
    assert checked_params({}) == {}
    assert checked_params(types.SimpleNamespace(lr=0.1)) == checked_params(argparse.Namespace(lr=0.1)) == {"lr": 0.1}
    for wrong in ("abc", [("lr", 1)], 3, None, Config, torch.nn.Linear(1, 1), object(), np.zeros(3)):
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
    graph: dict[str, Any] = {}
    graph.update(dict.fromkeys(map(str, range(50)), graph))
    assert len(flatten(graph)) < 3 * MAX_NAMES
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
