"""`tracelet show --log` and `tracelet compare --diff`: what was printed, and what was changed in the code."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import tracelet
from tests.unit.cli.conftest import BARE, Call


def test_the_log_is_printed_and_obeyed_by_nobody(call: Call) -> None:
    """Lines come as they were printed, control characters of them visible; as JSON with time, rank and stream."""
    with tracelet.start_logging("printing", config={**BARE, "quiet": True}):
        print("Preparing")
        print("10%", end="\r")
        print("100%", end="\n")
        print("odd \u202e text")
    assert call("show", "printing", "--log").output == "Preparing\n100%\nodd \\u202e text\n"
    lines = json.loads(call("show", "printing", "--log", "--json").output)
    assert [(line["text"], line["rank"], line["stream"]) for line in lines][:2] == [
        ("Preparing", 0, "stdout"), ("100%", 0, "stdout"),
    ]  # fmt: skip


def test_the_code_is_printed_as_a_patch(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The patch goes to standard output alone, so that it can be kept; the page shows its beginning."""
    code = tmp_path / "code"
    code.mkdir()
    author = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    program = code / "train.py"
    program.write_text("rate = 1\n", encoding="utf-8")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run(["git", "-C", str(code), *author, *arguments], check=True, capture_output=True)
    monkeypatch.setattr("sys.argv", [str(program)])
    for name, rate in (("one", 1), ("two", 2)):
        program.write_text(f"rate = {rate}\n", encoding="utf-8")
        with tracelet.start_logging(name, config={**BARE, "track_git": True, "quiet": True}):
            pass
    result = call("compare", "one", "two", "--diff")
    assert result.stdout.splitlines()[-2:] == ["-rate = 1", "+rate = 2"]
    assert result.stdout.startswith("diff --git")
    assert "compared by git" in result.stderr
    page = call("compare", "one", "two").output
    assert "+rate = 2" in page
    assert "Code: identical" not in page
    assert json.loads(call("compare", "one", "two", "--json").output)["diff"]["truncated"] is False
