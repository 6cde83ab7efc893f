"""The examples in README.md and docs/ do what the text around them says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("run_page.py")
PAGES = sorted(
    page
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if "```python" in page.read_text(encoding="utf-8")
)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    """Every Python block, saved file and console command of the page works, in the order of the page."""
    done = subprocess.run(
        [sys.executable, RUNNER, page],
        cwd=tmp_path, env={**os.environ, "TRACELET_QUIET": "true"}, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ran = done.stdout.splitlines()[-1]
    assert ran.endswith(" blocks ran")
    assert int(ran.split()[0]) > 0
    assert "Your program is not affected" not in done.stderr, done.stderr
