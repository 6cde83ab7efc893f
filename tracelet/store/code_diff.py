"""How the code of two runs differs: their commits with the uncommitted changes that each was started with.

Called by `tracelet compare` and the dashboard, on any thread. Where the repository is still there, git compares: each
state is put together as a tree in a temporary folder, so that nothing is written into the repository and no file of
it is touched. Elsewhere the changes that were recorded are compared as text. Never runs what a repository's
configuration names.
"""

from __future__ import annotations

import difflib
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracelet.redaction.masking import mask_tokens
from tracelet.store import git_commands
from tracelet.store.git_commands import decode, decode_line

MAX_BYTES = 512 * 1024
"""Bytes of the difference: more than anybody reads."""
MAX_LINES = 20_000
"""Of each recorded change that is compared as text: difflib's time grows faster than its input."""
COMMIT = re.compile(r"[0-9a-f]{7,64}")
"""Nothing else from a journal becomes an argument of git."""

SAME = "The code is identical."
UNKNOWN_CHANGES = "The uncommitted changes of {which} are unknown, because git could not compare them with the commit."
UNKNOWN = "The code of {which} was not recorded."
EXACT = "Commits and uncommitted changes, compared by git in {root}."
COMMITS = (
    "The commits are compared by git in {root}; what differs between the uncommitted changes follows, because {why}."
)
CHANGES = "Only the uncommitted changes are compared, as plain text: {why}."


@dataclass(frozen=True)
class CodeDifference:
    """The difference as a patch from the first to the second, and a sentence about what was compared."""

    description: str
    text: str = ""
    truncated: bool = False


def code_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> CodeDifference:
    """The changes from the first run's code to the second's; both as `Run.git` returns them."""
    which = [name for name, git in (("the first run", first), ("the second run", second)) if not git.get("commit")]
    if which:
        return CodeDifference(UNKNOWN.format(which=" and ".join(which)))
    failed = [name for name, git in (("the first run", first), ("the second run", second)) if changes_unknown(git)]
    if failed:
        return CodeDifference(UNKNOWN_CHANGES.format(which=" and ".join(failed)))
    if (first["commit"], _patch(first)) == (second["commit"], _patch(second)):
        return CodeDifference(SAME)
    root = _root(first, second)
    if root is None:
        return _diff_as_text(first, second, "their repository does not exist here, or lacks one of the commits")
    try:
        return _diff_with_git(root, first, second)
    except (OSError, subprocess.SubprocessError) as error:
        return _diff_as_text(first, second, f"git did not answer ({type(error).__name__})")


def changes_unknown(git: Mapping[str, Any]) -> bool:
    """Whether git was asked for the uncommitted changes and failed."""
    incomplete = git.get("incomplete")
    return isinstance(incomplete, (list, tuple)) and "diff" in incomplete


def _patch(git: Mapping[str, Any]) -> str:
    return str(git.get("diff") or "")


def _root(*gits: Mapping[str, Any]) -> Path | None:
    """A repository in which one of the runs was started and which has both commits."""
    commits = [str(git["commit"]) for git in gits]
    if not all(COMMIT.fullmatch(commit) for commit in commits):
        return None
    for root in dict.fromkeys(str(git.get("root") or "") for git in gits):
        if not root or not Path(root).is_absolute() or not Path(root).is_dir():
            continue
        try:
            for commit in commits:
                git_commands.run(Path(root), "cat-file", "-e", commit + "^{commit}")
        except (OSError, subprocess.SubprocessError):
            continue
        return Path(root)
    return None


def _diff_with_git(root: Path, first: Mapping[str, Any], second: Mapping[str, Any]) -> CodeDifference:
    with tempfile.TemporaryDirectory(prefix="tracelet-") as folder:
        extra = _temporary_index(root, Path(folder))
        description, rest = EXACT.format(root=root), ""
        try:
            states = [_tree_of(root, git, extra) for git in (first, second)]
        except ValueError as error:
            description, rest = COMMITS.format(root=root, why=error), _diff_patches(first, second)
            states = [str(first["commit"]), str(second["commit"])]
        found = git_commands.read_capped(
            root, MAX_BYTES, "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--find-renames",
            "--src-prefix=a/", "--dst-prefix=b/", *states, "--", extra=extra,
        )  # fmt: skip
    truncated = found.size > len(found.kept) or not found.complete
    text = mask_tokens(decode(found.kept[: found.kept.rfind(b"\n") + 1] if truncated else found.kept))
    return CodeDifference(
        description if text or rest else SAME, text + rest[:MAX_BYTES], truncated or len(rest) > MAX_BYTES
    )


def _temporary_index(root: Path, folder: Path) -> dict[str, str]:
    """Variables by which git keeps its index and what it makes in the folder, and reads the repository's objects."""
    objects = decode_line(git_commands.run(root, "rev-parse", "--path-format=absolute", "--git-path", "objects"))
    (folder / "objects").mkdir()
    return {
        "GIT_INDEX_FILE": str(folder / "index"), "GIT_OBJECT_DIRECTORY": str(folder / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
    }  # fmt: skip


def _tree_of(root: Path, git: Mapping[str, Any], extra: Mapping[str, str]) -> str:
    """The tree of a commit with the uncommitted changes. ValueError with the reason where these cannot be applied."""
    commit, patch = str(git["commit"]), _patch(git)
    if not patch:
        return commit
    if git.get("diff_truncated") or git.get("diff_masked"):
        raise ValueError("parts of them were not recorded")
    try:
        git_commands.run(root, "read-tree", commit, extra=extra)
        given = patch.encode("utf-8", "surrogateescape")
        git_commands.run(root, "apply", "--cached", "--whitespace=nowarn", "-", given=given, extra=extra)
        return decode_line(git_commands.run(root, "write-tree", extra=extra))
    except subprocess.CalledProcessError:
        raise ValueError("they do not apply, e.g. because of binary files") from None


def _diff_as_text(first: Mapping[str, Any], second: Mapping[str, Any], why: str) -> CodeDifference:
    text = _diff_patches(first, second)
    return CodeDifference(CHANGES.format(why=why), text[:MAX_BYTES], len(text) > MAX_BYTES)


def _diff_patches(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The difference between the two recorded changes, as text."""
    old, new = (_patch(git).splitlines()[:MAX_LINES] for git in (first, second))
    found = difflib.unified_diff(old, new, "first run's changes", "second run's changes", lineterm="", n=2)
    return "".join(one + "\n" for one in found)
