"""Reads the version of the running code from git, once, on the scheduler's thread, through the `git` executable.

It only reads: no index refresh, no lock, no hook, no pager, no external diff, no prompt, no fetch from a remote. The
repository is the one that contains the entry script, else the working directory. The diff and the list of untracked
files are truncated at a size limit, and marked so. Tokens in the diff and credentials in the remotes are masked.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracelet.errors import Absent
from tracelet.redaction.masking import MASK, mask_tokens, mask_url
from tracelet.store import git_commands
from tracelet.store.git_commands import decode, decode_line

DIFF_CAP = 512 * 1024
"""Bytes of diff kept: far more than any manual change, far less than a data file committed by mistake."""

UNTRACKED_CAP = 64 * 1024
"""Bytes of names of untracked files kept, about a thousand; an output folder missing from .gitignore has more."""


SUBMODULE_MODE = "160000"
"""How the index marks a submodule."""


class GitCollector:
    """Commit, branch, uncommitted diff, untracked files, remotes and submodules of the running code."""

    topic = "git"

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._root = Path()

    def collect(self) -> Mapping[str, Any]:
        """The facts; raises `Absent` without git or a working tree."""
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
        why = "no folder to search"
        for folder in (self._folder,) if self._folder else (_script_folder(), Path()):
            if folder is None or not folder.is_dir():
                continue
            try:
                return Path(decode_line(git_commands.run(folder, "rev-parse", "--show-toplevel")))
            except FileNotFoundError:
                raise Absent("git is not installed") from None
            except subprocess.CalledProcessError as error:
                why = decode(error.stderr or b"").strip().partition("\n")[0] or f"git returned {error.returncode}"
            except (OSError, subprocess.SubprocessError) as error:
                why = str(error)
        raise Absent(f"no git working tree: {why}")

    def _head(self) -> dict[str, Any]:
        branch = decode_line(self._ask("symbolic-ref", "--short", "-q", "HEAD"))
        log = self._ask("log", "-1", "--no-color", "--format=%H%n%cI%n%s", "HEAD")
        commit, when, subject = (*decode(log).split("\n"), "", "", "")[:3]
        return {
            "branch": branch or None,
            "commit": commit or None,
            "committed": when or None,
            "subject": mask_tokens(subject)[:200] or None,
        }

    def _remotes(self) -> dict[str, Any]:
        listing = decode(self._ask("config", "-z", "--get-regexp", r"^remote\..*\.url$"))
        remotes: dict[str, str] = {}
        for entry in filter(None, listing.split("\0")):
            key, _, url = entry.partition("\n")
            remotes.setdefault(key[len("remote.") : -len(".url")], mask_url(url).replace(f"{MASK}@", ""))
        return {"remotes": remotes}

    def _diff(self) -> dict[str, Any]:
        base = "HEAD"
        if not self._ask("rev-parse", "--verify", "-q", "HEAD"):
            base = decode_line(
                git_commands.run(self._root, "hash-object", "-t", "tree", "--stdin")
            )  # the empty tree; nothing is written
        found = _changes(self._root, base, DIFF_CAP)
        kept, size, truncated = found.kept, found.size, found.size > len(found.kept) or not found.complete
        for path in self._checked_out_submodules():
            within = _changes(self._root / path, "HEAD", DIFF_CAP, f"{path}/")
            truncated = truncated or len(kept) + within.size > DIFF_CAP or not within.complete
            kept, size = (kept + within.kept)[:DIFF_CAP], size + within.size
        text = decode(kept[: kept.rfind(b"\n") + 1] if truncated else kept)
        masked = mask_tokens(text)
        return {
            "dirty": size > 0,
            "diff": masked,
            "diff_bytes": size,
            "diff_truncated": truncated,
            "diff_masked": masked != text,
        }

    def _untracked(self) -> dict[str, Any]:
        found = git_commands.read_capped(self._root, UNTRACKED_CAP, "ls-files", "--others", "--exclude-standard", "-z")
        names = [decode(name) for name in found.kept.split(b"\0")[:-1]]
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
        for row in decode(git_commands.run(self._root, "submodule", "status")).splitlines():
            commit, _, rest = row[1:].partition(" ")
            path = rest.rpartition(" (")[0] if rest.endswith(")") else rest
            found[path] = {"commit": commit, "state": states.get(row[0], "in step")}
        return {"submodules": found}

    def _checked_out_submodules(self) -> list[str]:
        """Their folders. Git itself is not asked whether they are dirty: it would run the filters of their settings."""
        if not (self._root / ".gitmodules").is_file():
            return []
        listing = decode(git_commands.run(self._root, "ls-files", "--stage", "-z"))
        entries = [entry.partition("\t") for entry in listing.split("\0")]
        paths = [path for head, _, path in entries if head.startswith(SUBMODULE_MODE)]
        return [path for path in paths if (self._root / path / ".git").exists()]

    def _ask(self, *arguments: str) -> bytes:
        """The output, empty if git has no answer (a detached head has no branch, a new repository no commit)."""
        try:
            return git_commands.run(self._root, *arguments)
        except subprocess.CalledProcessError:
            return b""


def _changes(folder: Path, base: str, cap: int, prefix: str = "") -> git_commands.Output:
    """The uncommitted changes of one working tree. Without its filters, which are programs."""
    return git_commands.read_capped(
        folder, cap, *git_commands.without_filters(folder), "diff", base, "-O" + os.devnull, "--no-color",
        "--no-ext-diff", "--no-textconv", "--full-index", f"--src-prefix=a/{prefix}", f"--dst-prefix=b/{prefix}",
        "--submodule=short", "--ignore-submodules=dirty", "--",
    )  # fmt: skip


def _script_folder() -> Path | None:
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    for script in (sys.argv[0] if sys.argv else "", main):
        if script and Path(script).is_file():
            return Path(script).resolve().parent
    return None
