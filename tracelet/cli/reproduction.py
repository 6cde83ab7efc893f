"""What a run holds for being run again: its code, command and environment, and what of it cannot be had any more.

Used by `tracelet reproduce`. Reads the run and the repository; `checkout` alone makes something: a git worktree.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from tracelet.cli.run import interpreter_options
from tracelet.errors import StoreError
from tracelet.redaction.masking import MASK
from tracelet.store import git_commands
from tracelet.store.run import Run

ORIGIN_TAG = "reproduces"
"""The tag of a new run with the id of the one that it repeats."""


class Reproduction:
    """The plan for running one run again."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._git = run.git
        self._root = Path(str(self._git["root"])) if self._git.get("root") else None
        self.commit = str(self._git.get("commit") or "")

    @property
    def packages(self) -> dict[str, str]:
        """The recorded versions, by package."""
        found = self.run.environment.get("packages") or {}
        return {str(name): str(version) for name, version in found.items()}

    def lost(self) -> list[str]:
        """One sentence for each thing that cannot be had again."""
        git, command = self._git, self.run.info.command
        found = []
        if not self.commit or self._root is None:
            found.append("the run recorded no commit: the files are taken as they are now")
        elif not self.has_commit():
            found.append(f"commit {self.commit[:10]} is not in {self._root}: fetch it there first")
        if git.get("diff_truncated"):
            found.append("the recorded diff is truncated: the uncommitted changes are incomplete")
        if git.get("diff_masked"):
            found.append("secrets in the recorded diff are masked")
        if git.get("untracked_count"):
            names = ", ".join(map(str, (git.get("untracked") or [])[:3]))
            found.append(f"{git['untracked_count']} untracked files were not recorded ({names}, ...)")
        if self.run.info.world_size > 1:
            found.append("the run had several processes: their launcher is not started again")
        if any(MASK in word for word in command):
            found.append("secrets in the command are masked")
        return found

    def has_commit(self) -> bool:
        """Whether the repository has the commit."""
        if self._root is None or not self._root.is_dir():
            return False
        try:
            git_commands.run(self._root, "cat-file", "-e", f"{self.commit}^{{commit}}")
        except (OSError, subprocess.SubprocessError):
            return False
        return True

    def differences(self) -> list[str]:
        """How this environment differs from the recorded one."""
        python = (self.run.environment.get("python") or {}).get("version")
        here = ".".join(map(str, sys.version_info[:3]))
        found = [f"Python {python}, here {here}"] if python and str(python).split()[0] != here else []
        for name, version in sorted(self.packages.items()):
            try:
                now = metadata.version(name)
            except metadata.PackageNotFoundError:
                now = "missing"
            if now != version:
                found.append(f"{name} {version}, here {now}")
        return found

    def requirements(self) -> str:
        """The recorded versions in pip's format; tracelet itself is the installed one."""
        return "".join(f"{name}=={version}\n" for name, version in sorted(self.packages.items()) if name != "tracelet")

    def checkout(self, target: Path) -> None:
        """A worktree of the commit at this path, with the recorded changes. StoreError if git refuses."""
        assert self._root is not None  # only a run with a commit is checked out
        try:
            git_commands.run(self._root, "worktree", "add", "--detach", str(target), self.commit)
            diff = str(self._git.get("diff") or "")
            if diff.strip():
                git_commands.run(target, "apply", "--whitespace=nowarn", "-", given=diff.encode())
        except subprocess.CalledProcessError as error:
            why = git_commands.decode(error.stderr or b"").strip().partition("\n")[0]
            raise StoreError(f"git cannot restore the code ({why}). Name another folder: --into FOLDER") from error

    def command(self, python: str, store: Path, target: Path | None) -> list[str]:
        """The same program under `tracelet run`, as a new run that names this one."""
        words = self.run.info.command
        options = interpreter_options(words)
        rest = _program(words)
        if not rest or rest[0] == "-c":
            raise StoreError("this run's program was not a script or module, so it cannot be started again")
        if target is not None and self._root is not None:
            rest = [_moved(word, self._root, target) for word in rest]
        tag = f"{ORIGIN_TAG}={self.run.id}"
        ours = ["-m", "tracelet", "run", "--dir", str(store), "--tag", tag, "--project", self.run.info.project]
        return [python, *options, *ours, *rest]

    def folder(self, target: Path | None) -> Path:
        """The working directory: the recorded one, within the worktree if it was in the repository."""
        recorded = Path(self.run.info.folder)
        if target is not None and self._root is not None and recorded.is_relative_to(self._root):
            return target / recorded.relative_to(self._root)
        return recorded


def _program(words: Sequence[str]) -> list[str]:
    """The script, or `-m` and the module, with the arguments."""
    rest = list(words[1:])
    while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):
        rest = rest[2:] if rest[0] in ("-W", "-X") else rest[1:]
    return rest


def _moved(word: str, root: Path, target: Path) -> str:
    """An absolute path in the repository becomes one in the worktree."""
    if os.path.isabs(word) and Path(word).is_relative_to(root):
        return str(target / Path(word).relative_to(root))
    return word
