"""`LightningModule.log` rests while trainers run, in however many threads, and is there again afterwards."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tracelet
from tests.sinks import ListSink
from tracelet.integrations import patching
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.lightning.trainerless import TrainerlessLogging
from tracelet.integrations.patching import Patcher

LONG = 10.0
"""Seconds that a thread is waited for which must come."""
SHORT = 0.3
"""Seconds that a thread is given which must not come."""


class Watched(type):
    """A class that tells right before and after one of its attributes is put in place."""

    before: Callable[[str], None] = staticmethod(lambda name: None)
    after: Callable[[str], None] = staticmethod(lambda name: None)

    def __setattr__(cls, name: str, value: Any) -> None:
        Watched.before(name)
        super().__setattr__(name, value)
        Watched.after(name)


def empty(name: str) -> Any:
    """A module with nothing in it."""
    return ModuleType(name)


class Library:
    """As much of a Lightning as the patches look for."""

    def __init__(self) -> None:
        def log(self: Any, name: str, value: Any) -> None:
            pass

        members: dict[str, Any] = {"log": log, "_trainer": None, "_fabric": None}
        self.module = empty("small_lightning.core.module")
        self.module.LightningModule = Watched("LightningModule", (), members)
        self.trainer = empty("small_lightning.trainer.trainer")
        self.trainer.Trainer = type("Trainer", (), {"_run": lambda self, function: function()})
        self.modules = {one.__name__: one for one in (self.module, self.trainer)}

    def run(self, function: Callable[[], object]) -> None:
        """A trainer runs."""
        self.trainer.Trainer()._run(function)

    def log(self) -> Any:
        """What stands in the class now."""
        return vars(self.module.LightningModule)["log"]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """The library, imported."""
    made = Library()
    for name, module in made.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield made
    Watched.before = Watched.after = staticmethod(lambda name: None)


def recorded() -> tuple[TrainerlessLogging, Patcher]:
    """The library, recorded from now on."""
    sink = ListSink()
    standalone = TrainerlessLogging(sink, TrainerCalls(sink))
    patcher = Patcher(standalone.patches("small_lightning"))
    patcher.apply()
    return standalone, patcher


def test_a_trainer_that_starts_while_the_last_one_ends(library: Library) -> None:
    """Wherever the two threads meet, `log` is recorded afterwards, and stopping leaves nothing behind."""
    raw = library.log()
    standalone, patcher = recorded()
    awake = library.log()
    assert awake is not raw
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        leave.wait(LONG)

    def other() -> None:
        library.run(stay)

    thread = threading.Thread(target=other)

    def meet(name: str) -> None:
        if name == "log" and not thread.is_alive() and library.log() is awake:
            thread.start()
            inside.wait(SHORT)

    Watched.after = staticmethod(meet)
    library.run(library.log)
    assert inside.wait(LONG)
    assert library.log() is raw
    leave.set()
    thread.join(LONG)
    assert library.log() is awake
    standalone.stop()
    patcher.revert()
    assert library.log() is raw


def test_a_run_that_stops_while_a_trainer_ends(library: Library) -> None:
    """What is taken back for good on one thread is not put back by a trainer's end on another."""
    raw = library.log()
    standalone, patcher = recorded()

    def stop() -> None:
        standalone.stop()
        patcher.revert()

    thread = threading.Thread(target=stop)

    def meet(name: str) -> None:
        if name == "log" and thread.ident is None and library.log() is raw:
            thread.start()
            thread.join(SHORT)

    Watched.before = staticmethod(meet)
    library.run(lambda: None)
    thread.join(LONG)
    assert library.log() is raw
    assert "__setattr__" not in vars(library.module.LightningModule)


def test_a_fork_while_patches_change_on_another_thread(tmp_path: Path) -> None:
    """The child does not wait for a thread that it does not have: trainers run there as everywhere."""
    bare = {"dir": str(tmp_path), "delivery": "off", "quiet": True, "track_system": False, "track_git": False}
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with patching.patch_lock:
            held.set()
            go_on.wait(LONG)

    with tracelet.start_logging("parent", config=bare):
        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(LONG)
        child = os.fork()
        if child == 0:
            os._exit(0 if patching.patch_lock.acquire(timeout=LONG) else 1)
        go_on.set()
        thread.join(LONG)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
