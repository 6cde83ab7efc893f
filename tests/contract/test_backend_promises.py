"""What holds for all built-in backends: documented options, imports that cost nothing, missing SDKs explained."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tracelet import registry
from tracelet.errors import Misconfigured
from tracelet.testing import BackendConformance, Delivered

ROOT = Path(__file__).parents[2]
NAMES = sorted(registry.BACKENDS)
SDKS = {"mlflow": "mlflow", "wandb": "wandb", "clearml": "clearml", "tensorboard": "tensorboard", "aim": "aim"}


@pytest.mark.parametrize("name", [name for name in NAMES if (ROOT / f"docs/backends/{name}.md").exists()])
def test_every_option_is_documented(name: str) -> None:
    """The page of a backend asks for the table of its options, and the table tells each of them with its default."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    assert f"<!-- begin options {name}:" in (ROOT / f"docs/backends/{name}.md").read_text(encoding="utf-8")
    backend = registry.load(registry.BACKENDS[name])
    rows = list(hooks.PARTS[f"options {name}"]())[2:]
    assert [row.split("`")[1] for row in rows] == [field.name for field in dataclasses.fields(backend.options)]
    assert all(row.rstrip("| ").rpartition("|")[2].strip() for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_options_are_plain(name: str) -> None:
    """Options are a frozen dataclass that can be made without arguments, and the class says its name."""
    backend = registry.load(registry.BACKENDS[name])
    options = backend.options()
    assert backend.name == name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(options, dataclasses.fields(options)[0].name, "changed")


def test_importing_backends_imports_no_sdk() -> None:
    """The modules of all backends can be imported without their SDKs, and import none that is there."""
    modules = [reference.partition(":")[0] for reference in registry.BACKENDS.values()]
    code = f"import sys, {', '.join(modules)}; print(sorted({set(SDKS.values())!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(SDKS))
def test_a_missing_sdk_is_misconfigured(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its SDK a backend says what to type, and nothing is lost."""
    for known in [module for module in sys.modules if module.partition(".")[0] == SDKS[name]]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, SDKS[name], None)
    kind = registry.load(registry.BACKENDS[name])
    suite = BackendConformance(lambda: kind(kind.options()), lambda run: Delivered(), tmp_path)
    with pytest.raises(Misconfigured) as caught:
        suite.deliver()
    assert f"pip install '.[{name}]'" in caught.value.fix
