"""How the code of two runs differs, from real repositories and from what was recorded of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tracelet.collectors.git import GitCollector
from tracelet.store import code_diff
from tracelet.store.code_diff import code_difference

AUTHOR = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    """Run git as its user would."""
    return subprocess.run(
        ["git", "-C", str(folder), *AUTHOR, *arguments], check=True, capture_output=True, text=True
    ).stdout


def state(root: Path) -> Mapping[str, Any]:
    """What a run that is started now records."""
    return GitCollector(root).collect()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit of two files."""
    root = tmp_path / "code"
    root.mkdir()
    git(root, "init", "-q")
    (root / "train.py").write_text("".join(f"line {number}\n" for number in range(30)), encoding="utf-8")
    (root / "data.bin").write_bytes(bytes(range(256)))
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def change(root: Path, number: int, text: str) -> None:
    """Change one line of the program."""
    lines = (root / "train.py").read_text("utf-8").splitlines()
    lines[number] = text
    (root / "train.py").write_text("\n".join(lines) + "\n", encoding="utf-8")


def contents(root: Path) -> dict[str, bytes]:
    """Every file of the repository, git's own too."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_commits_and_uncommitted_changes_are_compared_together(repository: Path) -> None:
    """What was uncommitted in the first run and committed in the second is no difference; nothing is written."""
    change(repository, 3, "tried")
    first = state(repository)
    git(repository, "commit", "-qam", "second")
    change(repository, 20, "tried later")
    second = state(repository)
    before = contents(repository)
    found = code_difference(first, second)
    assert "compared by git" in found.description
    changed = [line for line in found.text.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-line 20", "+tried later"]
    assert contents(repository) == before
    back = code_difference(second, first)
    assert "-tried later" in back.text.splitlines()


def test_the_same_code_is_said_to_be_the_same(repository: Path) -> None:
    """The same commit with the same changes, or with changes that were committed meanwhile, differs in nothing."""
    change(repository, 3, "tried")
    first = state(repository)
    assert code_difference(first, state(repository)) == code_diff.CodeDifference(code_diff.SAME)
    git(repository, "commit", "-qam", "second")
    assert code_difference(first, state(repository)) == code_diff.CodeDifference(code_diff.SAME)


def test_changes_that_cannot_be_applied_are_compared_as_texts(repository: Path) -> None:
    """Commits are compared by git all the same; of changed binaries it is said that they cannot be."""
    first = state(repository)
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    (repository / "data.bin").write_bytes(b"\0other")
    found = code_difference(first, state(repository))
    assert "do not apply" in found.description
    assert "+Binary files a/data.bin and b/data.bin differ" in found.text


def test_without_the_repository_what_was_recorded_is_compared(repository: Path, tmp_path: Path) -> None:
    """A repository that is gone leaves the uncommitted changes of both runs, compared as texts."""
    change(repository, 3, "tried")
    first = state(repository)
    change(repository, 3, "tried otherwise")
    second = state(repository)
    repository.rename(tmp_path / "moved")
    found = code_difference(first, second)
    assert "does not exist here" in found.description
    assert "-+tried" in found.text.splitlines()
    assert "++tried otherwise" in found.text.splitlines()


@pytest.mark.parametrize("commit", ["--output=/tmp/x", "HEAD", "$(true)", "a" * 7, "0" * 40])
def test_a_commit_from_a_journal_is_never_an_option(repository: Path, commit: str) -> None:
    """What is no commit of the repository leads to the comparison of texts."""
    known = state(repository)
    assert "does not exist here" in code_difference(known, {**known, "commit": commit, "diff": "x"}).description


def test_changes_that_git_could_not_compare_are_unknown() -> None:
    """One commit, and a diff that failed: not identical, but unknown."""
    known, failed = {"commit": "a" * 40, "diff": ""}, {"commit": "a" * 40, "incomplete": ["diff"]}
    assert code_difference(known, failed).description.startswith(
        "The uncommitted changes of the second run are unknown"
    )
    assert code_difference(known, known).description == "The code is identical."


def test_without_git_it_is_said_whose_code_is_unknown(repository: Path) -> None:
    """A run outside any repository is named."""
    assert code_difference(state(repository), {}).description == "The code of the second run was not recorded."


def test_the_repository_runs_nothing(repository: Path, tmp_path: Path) -> None:
    """Hooks, and what its configuration and attributes name for diffs, filters and the file system, are not started."""
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n", encoding="utf-8")
    trap.chmod(0o755)
    change(repository, 3, "tried")
    first = state(repository)
    git(repository, "commit", "-qam", "second")
    change(repository, 9, "tried too")
    second = state(repository)
    (repository / ".git" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "info" / "attributes").write_text("*.py diff=trap filter=trap\n", encoding="utf-8")
    for name in ("diff.external", "diff.trap.command", "diff.trap.textconv", "filter.trap.clean", "filter.trap.smudge",
                 "core.fsmonitor", "core.pager"):  # fmt: skip
        git(repository, "config", name, str(trap))
    hooks = repository / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "reference-transaction", "pre-applypatch"):
        shutil.copy(trap, hooks / name)
    assert "+tried too" in code_difference(first, second).text
    assert not (tmp_path / "sprung").exists()


def test_secrets_are_masked_and_length_is_bounded(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was committed is masked; a difference beyond the cap is cut at a line, and says so."""
    first = state(repository)
    change(repository, 3, "key = hf_abcdefghijklmnopqrstuvwxyz012345")
    git(repository, "commit", "-qam", "second")
    second = state(repository)
    assert "hf_abc" not in code_difference(first, second).text
    monkeypatch.setattr(code_diff, "MAX_BYTES", 100)
    found = code_difference(first, second)
    assert found.truncated
    assert found.text.endswith("\n")
    assert len(found.text) <= 100
