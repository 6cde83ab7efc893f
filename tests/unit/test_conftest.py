"""What tests/conftest.py promises for every test, tried on tests that break it."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

LEAKS = {
    "thread": ("threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "left a thread running"),
    "process": (
        "LEFT.append(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']))", "left a process running"
    ),
    "run": ("tracelet.start_logging('left', config={'quiet': True})", "left a run active"),
    "guard": ("with guard('trying'): raise ValueError('ours')", "ValueError: ours"),
}  # fmt: skip
"""What a test does, and what it fails with."""
CLEAN = """
    assert os.listdir() == []
    assert 'TRACELET_QUIET' not in os.environ
    with tracelet.start_logging('clean', config={'quiet': True}): pass
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each test in a folder that our conftest holds for: the message it failed with, if it did."""
    folder = tmp_path_factory.mktemp("tests")
    imports = "import os, subprocess, sys, threading, time, tracelet\nfrom tracelet.guard import guard\nLEFT = []\n"
    tests = [f"def test_{name}():\n    {leak}\n" for name, (leak, _) in LEAKS.items()]
    (folder / "test_it.py").write_text("\n".join([imports, *tests, f"def test_clean():{CLEAN}"]), encoding="utf-8")
    path = os.pathsep.join(map(str, (TESTS, TESTS.parent)))
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "--junitxml=out.xml"],
        cwd=folder, env={**os.environ, "PYTHONPATH": path, "TRACELET_QUIET": "false"}, capture_output=True, timeout=90,
        check=False,
    )  # fmt: skip
    found = ET.parse(folder / "out.xml").iter("testcase")
    return {test.get("name", ""): "".join(part.text or "" for part in test) for test in found}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LEAKS)
def test_a_test_that_leaves_something_fails(outcomes: dict[str, str], kind: str) -> None:
    """Leaving a thread, a process, a run or a hidden failure behind is an error of the test that did it."""
    assert LEAKS[kind][1] in outcomes[f"test_{kind}"]


@pytest.mark.slow
def test_a_clean_test_passes(outcomes: dict[str, str]) -> None:
    """A test that stops what it starts passes, and finds itself in an empty folder without our settings."""
    assert outcomes["test_clean"] == ""
