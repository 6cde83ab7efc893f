"""Reads which code is running from git, once, on the scheduler's thread, through the `git` executable.

It only reads: no index refresh, no lock, no hook, no pager, no external diff, no prompt, no fetch from a remote. The
repository is the one that holds the entry script, else the one that holds the working directory. The diff and the list
of untracked files are cut at a size, and say so. Tokens in the diff and credentials in the remotes are masked.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracelet.errors import Absent
from tracelet.masking import MASK, mask_tokens, mask_url

DIFF_CAP = 512 * 1024
"""Bytes of diff that are kept: far above any change made by hand, far below a data file put into git by mistake."""

UNTRACKED_CAP = 64 * 1024
"""Bytes of names of untracked files that are kept, about a thousand; an output folder that nobody ignores has more."""

TIMEOUT = 20.0
"""Seconds that one git command may take; a diff over a cold network file system takes several."""

READ_SIZE = 64 * 1024

HARMLESS = (
    "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "log.showSignature=false",
    "-c", "color.ui=false", "-c", "diff.external=", "-c", "diff.autoRefreshIndex=false",
)  # fmt: skip
"""Options of every call: nothing that the user's configuration would start, names as they are, and the index left alone
(`git diff` rewrites it even under GIT_OPTIONAL_LOCKS=0)."""

MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS")
"""Set by git for its hooks and aliases: they would make it read another repository, or run a program."""


class GitCollector:
    """Commit, branch, uncommitted diff, untracked files, remotes and submodules of the code that runs."""

    topic = "git"

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._root = Path()

    def collect(self) -> Mapping[str, Any]:
        """The facts, or `Absent` when there is no git or no working tree."""
        self._root = self._find_root()
        facts: dict[str, Any] = {"root": str(self._root)}
        incomplete: list[str] = []
        for name, read in (
            ("head", self._head),
            ("remotes", self._remotes),
            ("diff", self._diff),
            ("untracked", self._untracked),
            ("submodules", self._submodules),
        ):
            try:
                facts.update(read())
            except (OSError, subprocess.SubprocessError):
                incomplete.append(name)
        if incomplete:
            facts["incomplete"] = incomplete
        return facts

    def _find_root(self) -> Path:
        why = "no folder to look in"
        for folder in (self._folder,) if self._folder else (_script_folder(), Path.cwd()):
            if folder is None or not folder.is_dir():
                continue
            try:
                return Path(_line(_git(folder, "rev-parse", "--show-toplevel")))
            except FileNotFoundError:
                raise Absent("git is not installed") from None
            except subprocess.CalledProcessError as error:
                why = _decode(error.stderr or b"").strip().partition("\n")[0] or f"git gave {error.returncode}"
            except (OSError, subprocess.SubprocessError) as error:
                why = str(error)
        raise Absent(f"no git working tree: {why}")

    def _head(self) -> dict[str, Any]:
        branch = _line(self._ask("symbolic-ref", "--short", "-q", "HEAD"))
        log = self._ask("log", "-1", "--no-color", "--format=%H%n%cI%n%s", "HEAD")
        commit, when, subject = (*_decode(log).split("\n"), "", "", "")[:3]
        return {
            "branch": branch or None,
            "commit": commit or None,
            "committed": when or None,
            "subject": mask_tokens(subject)[:200] or None,
        }

    def _remotes(self) -> dict[str, Any]:
        listing = _decode(self._ask("config", "-z", "--get-regexp", r"^remote\..*\.url$"))
        remotes: dict[str, str] = {}
        for entry in filter(None, listing.split("\0")):
            key, _, url = entry.partition("\n")
            remotes.setdefault(key[len("remote.") : -len(".url")], mask_url(url).replace(f"{MASK}@", ""))
        return {"remotes": remotes}

    def _diff(self) -> dict[str, Any]:
        base = "HEAD"
        if not self._ask("rev-parse", "--verify", "-q", "HEAD"):
            base = _line(_git(self._root, "hash-object", "-t", "tree", "--stdin"))  # the empty tree; nothing is written
        found = _read_capped(
            self._root, DIFF_CAP, "diff", base, "--no-color", "--no-ext-diff", "--no-textconv", "--full-index",
            "--src-prefix=a/", "--dst-prefix=b/", "--submodule=short", "--",
        )  # fmt: skip
        truncated = found.size > len(found.kept) or not found.complete
        text = _decode(found.kept[: found.kept.rfind(b"\n") + 1] if truncated else found.kept)
        masked = mask_tokens(text)
        return {
            "dirty": found.size > 0,
            "diff": masked,
            "diff_bytes": found.size,
            "diff_truncated": truncated,
            "diff_masked": masked != text,
        }

    def _untracked(self) -> dict[str, Any]:
        found = _read_capped(self._root, UNTRACKED_CAP, "ls-files", "--others", "--exclude-standard", "-z")
        names = [_decode(name) for name in found.kept.split(b"\0")[:-1]]
        return {
            "untracked": names,
            "untracked_count": found.entries,
            "untracked_truncated": len(names) < found.entries or not found.complete,
        }

    def _submodules(self) -> dict[str, Any]:
        if not (self._root / ".gitmodules").is_file():
            return {}
        found: dict[str, dict[str, str]] = {}
        states = {"-": "not checked out", "+": "other commit", "U": "conflict"}
        for line in _decode(_git(self._root, "submodule", "status")).splitlines():
            commit, _, rest = line[1:].partition(" ")
            path = rest.rpartition(" (")[0] if rest.endswith(")") else rest
            found[path] = {"commit": commit, "state": states.get(line[0], "in step")}
        return {"submodules": found}

    def _ask(self, *arguments: str) -> bytes:
        """The answer, empty where git says no (a detached head has no branch, a new repository no commit)."""
        try:
            return _git(self._root, *arguments)
        except subprocess.CalledProcessError:
            return b""


def _script_folder() -> Path | None:
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    for script in (sys.argv[0] if sys.argv else "", main):
        if script and Path(script).is_file():
            return Path(script).resolve().parent
    return None


def _command(folder: Path, arguments: tuple[str, ...]) -> list[str]:
    return ["git", "-C", str(folder), *HARMLESS, *arguments]


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    environment.update(
        GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", GIT_NO_LAZY_FETCH="1", GIT_PAGER="cat", LC_ALL="C"
    )
    return environment


def _git(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(
        _command(folder, arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=_environment(),
        timeout=TIMEOUT,
        check=True,
    ).stdout


@dataclass(frozen=True)
class Output:
    """What is kept of a command's output, and how much there was."""

    kept: bytes
    size: int
    entries: int
    """NUL bytes in all of it."""
    complete: bool
    """Not killed for taking too long."""


def _read_capped(folder: Path, cap: int, *arguments: str) -> Output:
    """Run a git command whose output may be huge: memory stays bounded, and it is killed when its time is up."""
    process = subprocess.Popen(
        _command(folder, arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )
    try:
        output = _drain(process, cap)
        code = process.wait(1.0) if output.complete else 0
    finally:
        process.kill()
        process.wait()
    if code:
        raise subprocess.CalledProcessError(code, "git " + arguments[0])
    return output


def _drain(process: subprocess.Popen[bytes], cap: int) -> Output:
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


def _line(output: bytes) -> str:
    return _decode(output.removesuffix(b"\n"))


def _decode(output: bytes) -> str:
    return output.decode("utf-8", "replace")
