"""What holds for every test: a clean environment, a folder of its own, and nothing left behind.

A test fails when it leaves a thread, a child process or a run behind, or when `tracelet.guard` had to keep a failure of
ours from the user. A test that provokes such failures says so: `@pytest.mark.allow_guarded`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase
from xdist.remote import Producer

import tracelet
from tests.scheduling import SharedScheduling
from tracelet import guard

GRACE = 3.0
"""Seconds for what is on its way out: a joined pool's last worker, a process between exit and being reaped."""

LASTING_THREADS = (
    "tqdm",  # tqdm's monitor: one for the process, started by the first progress bar, never stopped
    "QueueFeederThread",  # multiprocessing's, of a queue that awaits the garbage collector
)
LASTING_PROCESSES = (
    "multiprocessing.resource_tracker",  # one for the process, started by the first use of shared memory
    "multiprocessing.forkserver",
)
LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED")
LAUNCHER_PREFIXES = ("TRACELET_", "SLURM_", "OMPI_", "PMI_", "TORCHELASTIC_")
TERMINAL_VARIABLES = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")

# Two busy cores: time says nothing about right and wrong.
settings.register_profile(
    "by hand",
    deadline=None,
    print_blob=True,
    database=DirectoryBasedExampleDatabase(Path(__file__).parent.parent / ".hypothesis" / "examples"),
)
# A change must not fail for a case that it did not bring.
settings.register_profile("CI", deadline=None, print_blob=True, derandomize=True, database=None)
settings.load_profile("CI" if "CI" in os.environ else "by hand")

# Tests run side by side, and threads of OpenMP that wait for one another in a loop take the time of the other tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a shell puts into the background is deaf to Ctrl-C, and what nohup starts to the terminal's end. Children inherit
# that, and ours must hear.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What a test prints to is no terminal, however wide that of the person is. `readline`, which pytest imports, sets the
# width for child processes alone, and processes of `pytest -n` are such.
for variable in TERMINAL_VARIABLES:
    os.unsetenv(variable)
    os.environ.pop(variable, None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedScheduling:
    """Tests that share something run in one process."""
    return SharedScheduling(config, log)


@pytest.fixture(autouse=True)
def _clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """No settings or launcher from outside, an empty working directory, and the environment as it was afterwards."""
    before = dict(os.environ)
    for name in before:
        if name in LAUNCHER_VARIABLES or name.startswith(LAUNCHER_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    monkeypatch.setenv("TRACELET_DELIVERY", "off")  # tests that want an agent, which is a process, say so
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest, _clean_environment: None) -> Iterator[None]:
    """The test's own leftovers, in the order in which they cause one another."""
    threads, children = set(threading.enumerate()), set(_children())
    failures: list[str] = []

    def observe(place: str, error: BaseException) -> None:
        failures.append("".join([f"{place}:\n", *traceback.format_exception(error)]))

    guard.reset()
    guard.observers.append(observe)
    yield
    guard.observers.remove(observe)
    left = [*_run_left(), *_threads_left(threads), *_processes_left(children)]
    if failures and request.node.get_closest_marker("allow_guarded") is None:
        left.append("tracelet.guard kept failures of ours from the program:\n" + "\n".join(failures))
    guard.reset()
    if left:
        pytest.fail("\n".join(left), pytrace=False)


def _run_left() -> list[str]:
    experiment = tracelet.get_active_experiment()
    if experiment is None:
        return []
    tracelet.stop_logging()
    return [f"the test left a run active: {experiment!r}"]


def _threads_left(before: set[threading.Thread]) -> list[str]:
    def left() -> list[threading.Thread]:
        fresh = [thread for thread in threading.enumerate() if thread not in before and thread.is_alive()]
        return [t for t in fresh if not any(word in f"{type(t).__module__} {t.name}" for word in LASTING_THREADS)]

    deadline = time.monotonic() + GRACE
    while left() and time.monotonic() < deadline:
        time.sleep(0.01)
    return [f"the test left a thread running: {thread!r}" for thread in left()]


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _processes_left(before: set[psutil.Process]) -> list[str]:
    multiprocessing.active_children()  # reaps those that have ended
    fresh = [child for child in _children() if child not in before and not _lasting(child)]
    _, alive = psutil.wait_procs(fresh, timeout=GRACE)
    left = []
    for child in alive:
        left.append(f"the test left a process running: {child!r}")
        child.kill()
    return left


def _lasting(child: psutil.Process) -> bool:
    try:
        return any(word in " ".join(child.cmdline()) for word in LASTING_PROCESSES)
    except psutil.NoSuchProcess:
        return True
