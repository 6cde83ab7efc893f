"""What tests/conftest.py promises for every test, tried on tests that break it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

LEAKS = {
    "thread": "import threading, time\n"
    "def test_it(): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "process": "import subprocess, sys\n"
    "def test_it(): global kept; kept = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])",
    "run": "import tracelet\ndef test_it(): tracelet.start_logging('left', config={'quiet': True})",
    "guard": "from tracelet.guard import guard\ndef test_it():\n    with guard('trying'): raise ValueError('ours')",
}
MESSAGES = {
    "thread": "left a thread running",
    "process": "left a process running",
    "run": "left a run active",
    "guard": "ValueError: ours",
}


def outcome(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run the code as the only test of a folder that our conftest holds for."""
    (folder / "test_it.py").write_text(code, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "test_it.py"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", LEAKS)
def test_a_test_that_leaves_something_fails(kind: str, tmp_path: Path) -> None:
    """Leaving a thread, a process, a run or a hidden failure behind is an error of the test that did it."""
    done = outcome(tmp_path, LEAKS[kind])
    assert done.returncode == 1, done.stdout
    assert MESSAGES[kind] in done.stdout


@pytest.mark.slow
def test_a_clean_test_passes(tmp_path: Path) -> None:
    """A test that stops what it starts passes, and finds itself in an empty folder without our settings."""
    code = (
        "import os, tracelet\n"
        "def test_it():\n"
        "    assert os.listdir() == []\n"
        "    assert 'TRACELET_QUIET' not in os.environ\n"
        "    with tracelet.start_logging('clean', config={'quiet': True}): pass\n"
    )
    os.environ["TRACELET_QUIET"] = "false"
    done = outcome(tmp_path, code)
    assert done.returncode == 0, done.stdout
