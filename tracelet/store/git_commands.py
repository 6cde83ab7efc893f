"""Asks git about a repository without changing it: no index refresh, lock, hook, pager, other program, prompt or fetch.

Used by the git collector on the scheduler's thread, and by the comparison of code, on the reading side. A listing that
may be huge is read up to a cap; a command that takes too long is killed.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 20.0
"""Seconds that one git command may take; a diff over a cold network file system takes several."""

READ_SIZE = 64 * 1024

SAFE_OPTIONS = (
    "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "log.showSignature=false",
    "-c", "color.ui=false", "-c", "diff.external=", "-c", "diff.autoRefreshIndex=false",
    "-c", "core.hooksPath=" + os.devnull,
)  # fmt: skip
"""Options of every call: nothing that the user's configuration would start, names as they are, and the index left alone
(`git diff` rewrites it even under GIT_OPTIONAL_LOCKS=0). No hook: one is run after every change of an index, even of a
temporary one."""

UNSET_VARIABLES = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS",
)  # fmt: skip
"""Set by git for its hooks and aliases: they would make it read another repository, or run a program."""

NO_VARIABLES: Mapping[str, str] = {}


def _command(folder: Path, arguments: tuple[str, ...]) -> list[str]:
    return ["git", "-C", str(folder), *SAFE_OPTIONS, *arguments]


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in UNSET_VARIABLES}
    environment.update(
        GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", GIT_NO_LAZY_FETCH="1", GIT_PAGER="cat", LC_ALL="C"
    )
    return {**environment, **extra}


def run(folder: Path, *arguments: str, given: bytes = b"", extra: Mapping[str, str] = NO_VARIABLES) -> bytes:
    """What a command answers; it reads `given`, and has the `extra` variables. CalledProcessError, OSError, timeout."""
    return subprocess.run(
        _command(folder, arguments),
        input=given,
        capture_output=True,
        env=_environment(extra),
        timeout=TIMEOUT,
        check=True,
    ).stdout


def without_filters(folder: Path) -> list[str]:
    """Options that turn off the filters of a repository (LFS and others): `git diff` would run their programs."""
    try:
        listing = run(folder, "config", "--name-only", "-z", "--get-regexp", r"^filter\..*\.(clean|process|required)$")
    except subprocess.CalledProcessError:
        return []  # it has none
    names = {key[len("filter.") : key.rindex(".")] for key in decode(listing).split("\0") if key}
    if any("=" in name for name in names):
        raise OSError("a filter of the repository cannot be turned off")
    settings = (("clean", ""), ("process", ""), ("required", "false"))
    return [
        part for name in sorted(names) for key, value in settings for part in ("-c", f"filter.{name}.{key}={value}")
    ]


@dataclass(frozen=True)
class Output:
    """What is kept of a command's output, and how much there was."""

    kept: bytes
    size: int
    entries: int
    """NUL bytes in all of it."""
    complete: bool
    """Not killed for taking too long."""


def read_capped(folder: Path, cap: int, *arguments: str, extra: Mapping[str, str] = NO_VARIABLES) -> Output:
    """Run a git command whose output may be huge: memory stays bounded, and it is killed when its time is up."""
    process = subprocess.Popen(
        _command(folder, arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(extra),
    )
    try:
        output = _read_output(process, cap)
        code = process.wait(1.0) if output.complete else 0
    finally:
        process.kill()
        process.wait()
    if code:
        raise subprocess.CalledProcessError(code, "git " + arguments[0])
    return output


def _read_output(process: subprocess.Popen[bytes], cap: int) -> Output:
    # Not with a timer: a program that ends at once is asked at exit, when Python starts no threads any more.
    kept = bytearray()
    size = entries = 0
    deadline = time.monotonic() + TIMEOUT
    assert process.stdout is not None
    with process.stdout as out, selectors.DefaultSelector() as selector:
        selector.register(out, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0 and selector.select(left):
            piece = os.read(out.fileno(), READ_SIZE)
            if not piece:
                return Output(bytes(kept), size, entries, complete=True)
            size += len(piece)
            entries += piece.count(b"\0")
            kept += piece[: cap - len(kept)]
    return Output(bytes(kept), size, entries, complete=False)


def decode_line(output: bytes) -> str:
    """An answer of one line."""
    return decode(output.removesuffix(b"\n"))


def decode(output: bytes) -> str:
    """An answer as text, whatever is in it."""
    return output.decode("utf-8", "replace")
