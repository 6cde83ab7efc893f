"""Backends made from text and options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from tracelet.agent.delivery.backend_loading import make
from tracelet.errors import Misconfigured


@dataclass(frozen=True)
class Options:
    url: str = ""
    retries: int = 3
    folder: Path = Path()


class Plain:
    options: ClassVar[type] = Options

    def __init__(self, options: Options) -> None:
        self.given = options


HERE = f"{__name__}:Plain"


def test_options_become_what_the_class_declares() -> None:
    """Text from the environment becomes numbers and paths; what is not given has its default."""
    made = make("plain", HERE, {"retries": "5", "folder": "x"})
    assert isinstance(made, Plain)
    assert made.given == Options(url="", retries=5, folder=Path("x"))


@pytest.mark.parametrize(
    ("reference", "options", "sentence"),
    [
        ("no.such.module:X", {}, "cannot be loaded"),
        ("json:NoSuchName", {}, "cannot be loaded"),
        ("subprocess:Popen", {}, "is not a backend class"),
        ("os:system", {}, "is not a backend class"),
        (HERE, {"ulr": "x"}, "Did you mean 'url'?"),
        (HERE, {"zzz": "x"}, "Known options: url, retries, folder"),
        (HERE, {"retries": "many"}, "has an invalid option"),
    ],
)
def test_what_cannot_be_meant_is_misconfigured(reference: str, options: dict[str, str], sentence: str) -> None:
    """A missing class, an unknown option and an impossible value are told with what to do."""
    with pytest.raises(Misconfigured, match=".") as caught:
        make("plain", reference, options)
    assert sentence in str(caught.value)
