"""The pictures of the dashboard in the documentation: all are shown, and all can be made anew by one command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"


def test_every_picture_is_shown_and_can_be_made_anew() -> None:
    """What stands in docs/assets is what the page shows, and what tests/e2e/ui/screenshots.py makes."""
    pytest.importorskip("selenium")
    from tests.e2e.ui.screenshots import PICTURES

    kept = {path.name for path in (DOCS / "assets").glob("dashboard-*.png")}
    shown = set(re.findall(r"!\[[^\]]+\]\(assets/([^)]+)\)", (DOCS / "dashboard.md").read_text(encoding="utf-8")))
    assert kept == shown == {f"dashboard-{name}.png" for name in PICTURES}


def test_no_test_makes_pictures() -> None:
    """Only the command writes pictures, so that running the tests changes no file of the repository."""
    tests = [path for path in Path(__file__).parents[2].rglob("test_*.py") if path != Path(__file__)]
    assert len(tests) > 50
    assert [path.name for path in tests if "save_screenshot" in path.read_text(encoding="utf-8")] == []
