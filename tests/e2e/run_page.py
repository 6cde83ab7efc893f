"""Runs the examples of one page of the documentation, in the order in which a reader meets them.

    python tests/e2e/run_page.py docs/reading.md

They run in the working directory. A Python block is executed, all of them in one namespace, with the page's line
numbers in tracebacks. A block with a title is saved under that name instead. Of a console block each line that begins
with `$` is run and has to succeed. Blocks of other languages, and those after a comment `<!-- not run: why -->`, are
only for reading.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FENCE = re.compile(
    r"^(?P<skip><!-- not run: .+ -->\n+)?```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One fenced block of a page; `line` is the page's line that its first line stands on."""

    language: str
    title: str | None
    code: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The blocks that are to be run, in order."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        runs = match["language"] in ("python", "console") or match["title"]
        if runs and not match["skip"]:
            line = text.count("\n", 0, match.start("code")) + 1
            yield Block(match["language"], match["title"], match["code"], line)


def run(page: Path) -> int:
    """Run the page; returns how many blocks were run."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for count, block in enumerate(blocks(page), 1):  # noqa: B007  # the last count is the result
        if block.title is not None:
            Path(block.title).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
            exec(code, namespace)
        else:
            _console(block.code)
    return count


def _console(code: str) -> None:
    for line in code.splitlines():
        if not line.startswith("$ "):
            continue
        command = shlex.split(line[2:])
        if command[0] in ("python", "tracelet"):  # those of this environment, activated or not
            command[:1] = [sys.executable] if command[0] == "python" else [sys.executable, "-m", "tracelet"]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    print(f"{run(Path(sys.argv[1]).resolve())} blocks ran")
