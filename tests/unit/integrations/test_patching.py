"""Patches look like what they cover, are applied whenever the module comes, and leave nothing behind."""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import inspect
import itertools
import logging
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracelet.integrations.patching import Function, Patch, Patcher

SOURCE = '''
"""A library to be patched."""
SEEN = (__loader__, __spec__.loader)

class Base:
    def inherited(self, a, *, b=2):
        return ("inherited", a, b)

class Library(Base):
    def method(self, a: int, b: str = "x") -> tuple:
        """What it does."""
        return (self, a, b)

    @staticmethod
    def static(a):
        return ("static", a)

    @classmethod
    def of_class(cls, a):
        return (cls, a)

    def fails(self):
        raise RuntimeError("theirs")

    constant = 3

def function(a, /, b=1, *args, c, **kwargs):
    return (a, b, args, c, kwargs)
'''

TARGETS = ("Library.method", "Library.static", "Library.of_class", "Library.inherited", "Library.fails", "function")


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that can be imported and is not imported yet."""
    (tmp_path / "patched_library.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    before = list(sys.meta_path)
    yield "patched_library"
    sys.modules.pop("patched_library", None)
    assert sys.meta_path == before


class Calls(list[str]):
    """Patches that note each call."""

    def patches(self, module: str, targets: tuple[str, ...] = TARGETS, mark: str = "") -> list[Patch]:
        return [Patch(module, target, self._maker(mark + target)) for target in targets]

    def _maker(self, target: str) -> Callable[[Function], Function]:
        def make(original: Function) -> Function:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                self.append(target)
                return original(*args, **kwargs)

            return wrapper

        return make


def contents(module: Any) -> list[Any]:
    """Everything that stands in the module and its classes, in order, by identity."""
    owners = [vars(module), vars(module.Base), vars(module.Library)]
    # `__signature__` and friends are ours to set only on our own functions.
    return [[(key, id(value)) for key, value in owner.items()] for owner in owners]


def use(module: Any) -> None:
    """Call everything, and find that it does what the source says."""
    instance = module.Library()
    assert instance.method(1, b="y") == (instance, 1, "y")
    assert module.Library.static(5) == ("static", 5) == instance.static(5)
    assert module.Library.of_class(5) == (module.Library, 5) == instance.of_class(5)
    assert instance.inherited(1, b=4) == ("inherited", 1, 4)
    assert module.Base().inherited(1) == ("inherited", 1, 2)
    assert module.function(1, 2, 3, c=4, d=5) == (1, 2, (3,), 4, {"d": 5})
    with pytest.raises(RuntimeError, match="theirs"):
        instance.fails()


EXPECTED = [
    "Library.method", "Library.static", "Library.static", "Library.of_class", "Library.of_class", "Library.inherited",
    "function", "Library.fails",
]  # fmt: skip


def test_patches_an_imported_module_and_puts_everything_back(name: str) -> None:
    """Methods of every kind are seen while patched, and the module's dictionaries are what they were afterwards."""
    module: Any = importlib.import_module(name)
    before = contents(module)
    calls = Calls()
    patcher = Patcher(calls.patches(name))
    patcher.apply()
    use(module)
    assert calls == EXPECTED
    patcher.revert()
    use(module)
    assert calls == EXPECTED
    assert contents(module) == before


def test_a_patch_that_rests_is_gone_until_it_wakes(name: str) -> None:
    """While resting the module is as it was, for what is inherited too; afterwards the same wrappers are there."""
    module: Any = importlib.import_module(name)
    before = contents(module)
    calls = Calls()
    patches = calls.patches(name)
    patcher = Patcher(patches)
    patcher.apply()
    awake = vars(module.Library)["method"]
    for patch in patches:
        patch.suspend()
    assert contents(module) == before
    use(module)
    assert calls == []
    for patch in patches:
        patch.resume()
    assert vars(module.Library)["method"] is awake
    use(module)
    assert calls == EXPECTED
    for patch in patches:
        patch.suspend()
    patcher.revert()
    assert contents(module) == before


@pytest.mark.parametrize("wrapped", ["before the rest", "meanwhile"])
def test_somebody_who_wraps_around_a_rest_keeps_the_wrapper(name: str, wrapped: str) -> None:
    """Over ours it stays, and ours stay below it; over what ours had covered it stays, and ours come to stand above.
    Either way each call is seen once, and theirs is there when ours have gone.
    """
    module: Any = importlib.import_module(name)
    calls = Calls()
    patches = calls.patches(name, ("function",))
    patcher = Patcher(patches)
    patcher.apply()

    def wrap() -> Any:
        covered = module.function
        module.function = lambda *args, **kwargs: ("theirs", covered(*args, **kwargs))
        return module.function

    theirs = wrap() if wrapped == "before the rest" else None
    patches[0].suspend()
    theirs = theirs or wrap()
    patches[0].resume()
    assert module.function(1, c=2) == ("theirs", (1, 1, (), 2, {}))
    assert calls == ["function"]
    patcher.revert()
    assert module.function is theirs
    assert module.function(1, c=2) == ("theirs", (1, 1, (), 2, {}))
    assert calls == ["function"]


def test_patches_a_module_when_it_is_imported(name: str) -> None:
    """A module that comes later is patched after its code ran, and never sees a loader but its own."""
    calls = Calls()
    patcher = Patcher(calls.patches(name))
    patcher.apply()
    module: Any = importlib.import_module(name)
    use(module)
    assert calls == EXPECTED
    for loader in (module.__loader__, module.__spec__.loader, *module.SEEN):
        assert type(loader) is importlib.machinery.SourceFileLoader
    patcher.revert()
    use(module)
    assert calls == EXPECTED
    assert "inherited" not in vars(module.Library)


def test_patches_nothing_that_is_imported_after_revert(name: str) -> None:
    """Once reverted, an import is none of our business."""
    calls = Calls()
    patcher = Patcher(calls.patches(name))
    patcher.apply()
    patcher.revert()
    use(importlib.import_module(name))
    assert calls == []


def test_patches_a_reloaded_module_again(name: str) -> None:
    """Reloading makes new classes; they are patched as the old ones were."""
    module: Any = importlib.import_module(name)
    calls = Calls()
    patcher = Patcher(calls.patches(name))
    patcher.apply()
    module = importlib.reload(module)
    use(module)
    assert calls == EXPECTED
    patcher.revert()
    use(module)
    assert calls == EXPECTED


def test_apply_and_revert_are_idempotent(name: str) -> None:
    """Applying twice calls a wrapper once; reverting twice is as good as once."""
    module: Any = importlib.import_module(name)
    before = contents(module)
    calls = Calls()
    patcher = Patcher(calls.patches(name, ("function",)))
    patcher.apply()
    patcher.apply()
    module.function(1, c=2)
    assert calls == ["function"]
    patcher.revert()
    patcher.revert()
    assert contents(module) == before
    patcher.apply()
    module.function(1, c=2)
    patcher.revert()
    assert calls == ["function", "function"]
    assert contents(module) == before


@pytest.mark.parametrize("target", TARGETS)
def test_keeps_signature_name_and_documentation(name: str, target: str) -> None:
    """`inspect.signature`, `getfullargspec`, name, docstring and source are those of the original."""
    module: Any = importlib.import_module(name)

    def look() -> list[Any]:
        found: Any = module
        for step in target.split("."):
            found = getattr(found, step)
        return [
            inspect.signature(found), inspect.getfullargspec(found), found.__name__, found.__qualname__, found.__doc__,
            found.__module__, inspect.getsource(found), inspect.isfunction(found), inspect.ismethod(found),
        ]  # fmt: skip

    before = look()
    patcher = Patcher(Calls().patches(name, (target,)))
    patcher.apply()
    assert look() == before
    patcher.revert()


def test_a_patched_function_can_be_pickled(name: str) -> None:
    """A bound method and a function travel to another process by name, as they did."""
    module: Any = importlib.import_module(name)
    patcher = Patcher(Calls().patches(name))
    patcher.apply()
    assert pickle.loads(pickle.dumps(module.function)) is module.function
    assert pickle.loads(pickle.dumps(module.Library.method)) is module.Library.method
    patcher.revert()


def test_goes_inert_where_somebody_wrapped_over_us(name: str) -> None:
    """Another wrapper over ours stays where it is, and calls through us to the original."""
    module: Any = importlib.import_module(name)
    calls = Calls()
    patcher = Patcher(calls.patches(name))
    patcher.apply()
    ours = module.function

    @functools.wraps(ours)
    def theirs(*args: Any, **kwargs: Any) -> Any:
        calls.append("theirs")
        return ours(*args, **kwargs)

    module.function = theirs
    patcher.revert()
    assert module.function is theirs
    assert module.function(1, c=2) == (1, 1, (), 2, {})
    assert calls == ["theirs"]


def test_restores_a_foreign_wrapper_that_copied_our_marks(name: str) -> None:
    """Somebody's `functools.wraps` over a reverted wrapper of ours is theirs, and is put back as it was."""
    module: Any = importlib.import_module(name)
    first, second = Patcher(Calls().patches(name, ("function",))), Patcher(Calls().patches(name, ("function",)))
    first.apply()
    theirs = functools.wraps(module.function)(functools.partial(module.function))
    module.function = theirs
    second.apply()
    first.revert()
    second.revert()
    assert module.function is theirs


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_several_patchers_leave_in_any_order(name: str, order: tuple[int, ...]) -> None:
    """Whoever goes first, the last one leaves the module as the first one found it."""
    module: Any = importlib.import_module(name)
    before = contents(module)
    calls = Calls()
    patchers = [Patcher(calls.patches(name, ("Library.method", "Library.inherited"), mark=str(n))) for n in range(3)]
    for patcher in patchers:
        patcher.apply()
    left = set(range(3))
    for number in order:
        calls.clear()
        module.Library().method(1)
        assert sorted(calls) == [f"{n}Library.method" for n in sorted(left)]
        patchers[number].revert()
        left.discard(number)
    use(module)
    assert contents(module) == before


def test_a_direct_patch_is_the_wrapper_itself(name: str) -> None:
    """It looks like the original too, costs one call less, and is taken back like any other."""
    module: Any = importlib.import_module(name)
    before = contents(module)
    calls = Calls()
    patches = calls.patches(name, ("Library.inherited", "function"))
    patches += [Patch(name, "Library.method", lambda original: original)]
    for patch in patches:
        patch.direct = True
    patcher = Patcher(patches)
    patcher.apply()
    assert str(inspect.signature(module.function)) == "(a, /, b=1, *args, c, **kwargs)"
    use(module)
    assert calls == ["Library.inherited", "function"]
    patcher.revert()
    use(module)
    assert calls == ["Library.inherited", "function"]
    assert contents(module) == before


def test_two_patchers_wait_for_one_module(name: str) -> None:
    """Both see the import, and the module has its own loader."""
    calls = Calls()
    patchers = [Patcher(calls.patches(name, ("function",), mark=str(number))) for number in range(2)]
    for patcher in patchers:
        patcher.apply()
    module: Any = importlib.import_module(name)
    module.function(1, c=2)
    assert sorted(calls) == ["0function", "1function"]
    assert type(module.__spec__.loader) is importlib.machinery.SourceFileLoader
    for patcher in patchers:
        patcher.revert()
    assert not hasattr(module.function, "__wrapped__")


def test_says_once_what_a_version_does_not_have(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A missing target is told in one line with what still works; an optional one is not worth a word."""
    importlib.import_module(name)
    gone = [
        Patch(name, "Library.gone", lambda original: original),
        Patch(name, "Gone.method", lambda original: original),
    ]
    quiet = [Patch(name, "Library.later", lambda original: original, optional=True)]
    patcher = Patcher(gone + quiet)
    with caplog.at_level(logging.WARNING, "tracelet"):
        patcher.apply()
    patcher.revert()
    assert len(caplog.records) == 2
    assert "Library.gone" in caplog.text
    assert "Training continues" in caplog.text


def test_a_data_attribute_is_not_wrapped(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be called stays as it is."""
    module: Any = importlib.import_module(name)
    patcher = Patcher([Patch(name, "Library.constant", lambda original: original)])
    with caplog.at_level(logging.WARNING, "tracelet"):
        patcher.apply()
    assert module.Library.constant == 3
    patcher.revert()


def test_an_import_that_fails_fails_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception of a module's own code reaches whoever imports it."""
    (tmp_path / "broken_library.py").write_text("raise ValueError('theirs')")
    monkeypatch.syspath_prepend(tmp_path)
    patcher = Patcher(Calls().patches("broken_library") + Calls().patches("missing_library"))
    patcher.apply()
    with pytest.raises(ValueError, match="theirs"):
        importlib.import_module("broken_library")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("missing_library")
    patcher.revert()
    assert "broken_library" not in sys.modules
