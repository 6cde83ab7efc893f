"""`tracelet demo`, without the training."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from importlib.machinery import ModuleSpec

import pytest
from click.testing import Result

from tracelet.cli.demo import SCRIPT

Call = Callable[..., Result]


def test_the_code_is_printed(call: Call) -> None:
    """--code prints the very script, which has one line of tracelet and at most 60 of all."""
    code = call("demo", "--code").output
    assert code == SCRIPT.read_text(encoding="utf-8")
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    ours = [node for node in calls if ast.unparse(node.func).startswith("tracelet.")]
    assert [ast.unparse(node.func) for node in ours] == ["tracelet.start_logging"]
    assert code.count("\n") <= 60


def test_missing_packages_name_the_extra(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scikit-learn the demo says what to install, and trains nothing."""
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "sklearn" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    result = call("demo", code=1)
    assert "scikit-learn" in result.stderr
    assert "pip install '.[demo]'" in result.stderr
