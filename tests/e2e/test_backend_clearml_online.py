"""The real ClearML client, online: its tests, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "alone" / "clearml_online.py"


@pytest.mark.slow
def test_the_client_passes_online() -> None:
    """Runs and points that come again are right; apart, for the SDK keeps to the mode that its process began in."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
