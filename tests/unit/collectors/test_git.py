"""The git collector against real repositories."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tracelet.collectors import git
from tracelet.collectors.git import GitCollector
from tracelet.errors import Absent
from tracelet.store import git_commands as asking

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture(autouse=True)
def _no_configuration_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The machine's own git configuration does not decide what these tests see."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "gitconfig").write_text('[init]\n\tdefaultBranch = main\n[protocol "file"]\n\tallow = always\n')


def run_git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and give what it printed."""
    return subprocess.run(
        ["git", "-C", str(folder), *IDENTITY, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit of one file."""
    folder = tmp_path / "repo"
    folder.mkdir()
    run_git(folder, "init", "-q")
    (folder / "train.py").write_text("print(1)\n")
    run_git(folder, "add", "train.py")
    run_git(folder, "commit", "-q", "-m", "first commit")
    return folder


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time of change."""
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_a_clean_repository_is_told_with_its_commit(repository: Path) -> None:
    """Commit, branch and subject are git's own; nothing is dirty, nothing cut."""
    facts = GitCollector(repository).collect()
    assert facts["commit"] == run_git(repository, "rev-parse", "HEAD")
    assert facts["branch"] == "main"
    assert facts["subject"] == "first commit"
    assert facts["root"] == str(repository.resolve())
    assert (facts["dirty"], facts["diff"], facts["diff_bytes"], facts["diff_truncated"]) == (False, "", 0, False)
    assert (facts["untracked"], facts["untracked_count"], facts["remotes"]) == ([], 0, {})
    assert "incomplete" not in facts


def test_the_diff_holds_staged_and_unstaged_changes_and_can_be_applied(repository: Path, tmp_path: Path) -> None:
    """Applying the diff to a clean checkout of the commit gives the code that ran."""
    (repository / "train.py").write_text("print(2)\n")
    (repository / "größe ☃.py").write_text("x = 'ü'\n", encoding="utf-8")
    run_git(repository, "add", "größe ☃.py")
    facts = GitCollector(repository).collect()
    assert facts["dirty"] is True
    assert facts["diff_bytes"] == len(facts["diff"].encode())
    assert "größe ☃.py" in facts["diff"]
    clean = tmp_path / "clean"
    run_git(tmp_path, "clone", "-q", str(repository), str(clean))
    subprocess.run(["git", "-C", str(clean), "apply"], input=facts["diff"].encode(), check=True)
    assert (clean / "train.py").read_text() == "print(2)\n"
    assert (clean / "größe ☃.py").read_text(encoding="utf-8") == "x = 'ü'\n"


def test_the_users_diff_settings_change_nothing(repository: Path, tmp_path: Path) -> None:
    """Colour, prefixes, pagers, external diffs, textconv and hooks of the user's configuration are not used."""
    marker = tmp_path / "was-run"
    script = tmp_path / "spy.sh"
    script.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    script.chmod(0o755)
    for key, value in (
        ("diff.external", str(script)), ("core.pager", str(script)), ("core.fsmonitor", str(script)),
        ("diff.spy.textconv", str(script)), ("color.ui", "always"), ("diff.noprefix", "true"),
        ("log.showSignature", "true"),
    ):  # fmt: skip
        run_git(repository, "config", key, value)
    (repository / ".git" / "info" / "attributes").write_text("*.py diff=spy\n")
    (repository / "train.py").write_text("print(3)\n")
    diff = GitCollector(repository).collect()["diff"]
    assert not marker.exists()
    assert diff.startswith("diff --git a/train.py b/train.py\n")
    assert "+print(3)\n" in diff


def test_filters_of_the_repository_are_not_run(repository: Path, tmp_path: Path) -> None:
    """A clean filter, a process filter and a text conversion are programs: none starts, and the diff is complete."""
    (repository / ".gitattributes").write_text("*.py filter=mine diff=mine\n*.bin filter=long\n")
    (repository / "data.bin").write_text("1\n")
    run_git(repository, "add", ".")
    run_git(repository, "commit", "-q", "-m", "attributes")
    for key in ("filter.mine.clean", "filter.long.process", "filter.mine.smudge", "diff.mine.textconv"):
        run_git(repository, "config", key, f"touch {tmp_path / 'ran'}; cat")
    for name in ("mine", "long"):
        run_git(repository, "config", f"filter.{name}.required", "true")
    (repository / "train.py").write_text("print(2)\n")
    (repository / "data.bin").write_text("2\n")
    facts = GitCollector(repository).collect()
    assert "+print(2)" in facts["diff"]
    assert "data.bin" in facts["diff"]
    assert "incomplete" not in facts
    assert not (tmp_path / "ran").exists()


def test_a_missing_order_file_costs_nothing(repository: Path) -> None:
    """`diff.orderFile` names a file that is not there: the diff is recorded all the same."""
    run_git(repository, "config", "diff.orderFile", "missing")
    (repository / "train.py").write_text("print(2)\n")
    assert "+print(2)" in GitCollector(repository).collect()["diff"]


def test_a_diff_that_fails_is_unknown(repository: Path) -> None:
    """With a damaged object there is no diff, and nothing says that the tree is clean."""
    blob = run_git(repository, "rev-parse", "HEAD:train.py")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    (repository / "train.py").write_text("print(2)\n")
    facts = GitCollector(repository).collect()
    assert facts["incomplete"] == ["diff"]
    assert "dirty" not in facts


@pytest.mark.parametrize("ignore", ["", "dirty", "all"])
def test_changes_inside_a_submodule_are_kept(ignore: str, repository: Path, tmp_path: Path) -> None:
    """Whatever `ignore` says, uncommitted changes of a submodule are uncommitted changes, under its path."""
    top = tmp_path / "top"
    top.mkdir()
    run_git(top, "init", "-q")
    run_git(top, "submodule", "add", str(repository), "sub")
    if ignore:
        run_git(top, "config", "-f", ".gitmodules", "submodule.sub.ignore", ignore)
    run_git(top, "add", ".")
    run_git(top, "commit", "-q", "-m", "with a submodule")
    assert GitCollector(top).collect()["dirty"] is False
    (top / "sub" / "train.py").write_text("print(2)\n")
    facts = GitCollector(top).collect()
    assert facts["dirty"] is True
    assert "+++ b/sub/train.py" in facts["diff"]
    assert "+print(2)" in facts["diff"]
    assert facts["diff_bytes"] == len(facts["diff"])


def test_nothing_is_written_to_the_repository(repository: Path) -> None:
    """Not even the index is refreshed, though git would find every time stamp in it outdated."""
    os.utime(repository / "train.py", (1, 1))
    (repository / "new.txt").write_text("x")
    before = snapshot(repository)
    facts = GitCollector(repository).collect()
    assert (facts["dirty"], facts["diff"]) == (False, "")
    assert snapshot(repository) == before


def test_a_long_diff_is_cut_at_a_line_and_says_its_full_size(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part kept ends with a whole line; the size told is that of all of it."""
    (repository / "train.py").write_text("".join(f"line {number} äöü\n" for number in range(20_000)))
    full = GitCollector(repository).collect()
    monkeypatch.setattr(git, "DIFF_CAP", 10_000)
    cut = GitCollector(repository).collect()
    assert (full["diff_truncated"], cut["diff_truncated"]) == (False, True)
    assert full["diff_bytes"] == cut["diff_bytes"] == len(full["diff"].encode())
    assert 9_900 < len(cut["diff"].encode()) <= 10_000
    assert cut["diff"].endswith("\n")
    assert full["diff"].startswith(cut["diff"])


def test_many_untracked_files_are_counted_and_the_list_is_cut(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names stay whole, the count is of all; ignored files are not among them."""
    (repository / ".gitignore").write_text("*.ckpt\n")
    (repository / "weights.ckpt").write_text("x")
    for number in range(50):
        (repository / f"ungelöst {number:02d}.txt").write_text("x")
    monkeypatch.setattr(git, "UNTRACKED_CAP", 200)
    facts = GitCollector(repository).collect()
    assert facts["untracked_count"] == 51
    assert facts["untracked_truncated"] is True
    assert facts["dirty"] is False
    assert 0 < len(facts["untracked"]) < 51
    assert set(facts["untracked"]) <= {".gitignore", *(f"ungelöst {number:02d}.txt" for number in range(50))}


def test_binary_changes_are_named_not_quoted(repository: Path) -> None:
    """A changed binary file makes the tree dirty and takes one line of the diff."""
    (repository / "data.bin").write_bytes(bytes(range(256)))
    run_git(repository, "add", "data.bin")
    run_git(repository, "commit", "-q", "-m", "binary")
    (repository / "data.bin").write_bytes(bytes(reversed(range(256))))
    facts = GitCollector(repository).collect()
    assert facts["dirty"] is True
    assert "Binary files a/data.bin and b/data.bin differ" in facts["diff"]


def test_text_that_is_no_utf8_is_read_all_the_same(repository: Path) -> None:
    """Latin-1 source and undecodable file names do not cost the facts."""
    (repository / "train.py").write_bytes("print('\xe4')\n".encode("latin-1"))
    if sys.platform == "linux":
        Path(os.fsdecode(os.fsencode(repository) + b"/caf\xe9.txt")).write_text("x")
    facts = GitCollector(repository).collect()
    assert "\N{REPLACEMENT CHARACTER}" in facts["diff"]
    assert facts["untracked_count"] == (1 if sys.platform == "linux" else 0)
    facts["diff"].encode("utf-8")
    "".join(facts["untracked"]).encode("utf-8")


def test_a_repository_without_commits_shows_everything_as_new(tmp_path: Path) -> None:
    """There is a branch but no commit; what is staged is in the diff."""
    run_git(tmp_path, "init", "-q", "fresh")
    (tmp_path / "fresh" / "a.py").write_text("a = 1\n")
    run_git(tmp_path / "fresh", "add", "a.py")
    facts = GitCollector(tmp_path / "fresh").collect()
    assert (facts["branch"], facts["commit"], facts["dirty"]) == ("main", None, True)
    assert "+a = 1" in facts["diff"]
    assert "incomplete" not in facts


def test_a_detached_head_has_a_commit_and_no_branch(repository: Path) -> None:
    """The branch is None, not the word HEAD."""
    run_git(repository, "checkout", "-q", "--detach")
    facts = GitCollector(repository).collect()
    assert facts["branch"] is None
    assert facts["commit"] == run_git(repository, "rev-parse", "HEAD")


def test_a_worktree_is_its_own_root(repository: Path, tmp_path: Path) -> None:
    """In a linked worktree, root, branch and diff are the worktree's."""
    linked = tmp_path / "linked"
    run_git(repository, "worktree", "add", "-q", "-b", "feature", str(linked))
    (linked / "train.py").write_text("print('worktree')\n")
    facts = GitCollector(linked).collect()
    assert (facts["root"], facts["branch"]) == (str(linked.resolve()), "feature")
    assert "+print('worktree')" in facts["diff"]
    assert GitCollector(repository).collect()["dirty"] is False


def test_remotes_come_without_credentials(repository: Path) -> None:
    """User names, passwords and tokens in addresses are gone, the rest can be opened."""
    for name, url in (
        ("origin", "https://me:ghp_0123456789abcdefghij0123@example.org/team/repo.git"),
        ("ssh", "git@example.org:team/repo.git"),
        ("up.stream", "https://token@example.org/x"),
    ):
        run_git(repository, "remote", "add", name, url)
    assert GitCollector(repository).collect()["remotes"] == {
        "origin": "https://example.org/team/repo.git",
        "ssh": "git@example.org:team/repo.git",
        "up.stream": "https://example.org/x",
    }


def test_a_token_in_the_diff_is_masked_and_said(repository: Path) -> None:
    """A key pasted into the code does not get into the record; that the diff was altered does."""
    (repository / "train.py").write_text("key = 'hf_abcdefghijklmnopqrstuvwxyz0123'\n")
    facts = GitCollector(repository).collect()
    assert "+key = '***'" in facts["diff"]
    assert facts["diff_masked"] is True


def test_submodules_are_listed_with_their_state(repository: Path, tmp_path: Path) -> None:
    """Each submodule has its commit, and whether it is the one recorded."""
    outer = tmp_path / "outer"
    run_git(tmp_path, "init", "-q", str(outer))
    run_git(outer, "submodule", "add", "-q", str(repository), "libs/inner one")
    run_git(outer, "commit", "-q", "-m", "with a submodule")
    commit = run_git(repository, "rev-parse", "HEAD")
    assert GitCollector(outer).collect()["submodules"] == {"libs/inner one": {"commit": commit, "state": "in step"}}


@pytest.mark.parametrize("kind", ["bare", "none", "inside .git"])
def test_without_a_working_tree_git_is_absent(kind: str, tmp_path: Path) -> None:
    """A bare repository, a plain folder and the .git folder itself have no code to tell of."""
    folder = tmp_path / "plain"
    folder.mkdir()
    if kind != "none":
        run_git(folder, "init", "-q", *(["--bare"] if kind == "bare" else []))
    with pytest.raises(Absent, match="no git working tree"):
        GitCollector(folder / ".git" if kind == "inside .git" else folder).collect()


def test_without_the_executable_git_is_absent(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without git is no failure."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Absent, match="not installed"):
        GitCollector(repository).collect()


def test_the_variables_of_a_git_hook_do_not_mislead(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIT_DIR and its like, set where a hook starts the training, are not followed."""
    run_git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert GitCollector(repository).collect()["root"] == str(repository.resolve())


@pytest.mark.parametrize(
    "variable", ["GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE"]
)
def test_variables_of_git_that_stand_alone_do_not_mislead(
    variable: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refs and objects of another repository (a quarantine of `git receive-pack`, a work tree) are not taken for ours.

    Each of the variables alone changes nothing of what is told.
    """
    (repository / "train.py").write_text("print(2)\n")
    expected = GitCollector(repository).collect()
    run_git(tmp_path, "init", "-q", "other")
    place = {"GIT_COMMON_DIR": ".git", "GIT_NAMESPACE": "name"}.get(variable, ".git/objects")
    monkeypatch.setenv(variable, place if variable == "GIT_NAMESPACE" else str(tmp_path / "other" / place))
    assert GitCollector(repository).collect() == expected
    assert variable not in asking._environment({})


@pytest.fixture
def slow_git(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `git` that hangs in `diff` after its first bytes, as on a dead network disk, and lists files without an end."""
    real = subprocess.run(["which", "git"], check=True, capture_output=True, text=True).stdout.strip()
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "git"
    script.write_text(
        f"#!{sys.executable}\nimport os, sys, time\n"
        "while 'ls-files' in sys.argv:\n    os.write(1, b'file\\0' * 1000)\n"
        "if 'diff' in sys.argv:\n    print('diff --git', flush=True)\n    time.sleep(60)\n"
        f"os.execv({real!r}, ['git', *sys.argv[1:]])\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("tracelet.store.git_commands.TIMEOUT", 1.5)
    return repository


def test_a_git_that_hangs_or_never_ends_costs_only_what_it_was_asked(slow_git: Path) -> None:
    """The command is killed when its time is up; what was read until then is kept and called incomplete."""
    facts = GitCollector(slow_git).collect()
    assert facts["diff"] == "diff --git\n"
    assert facts["diff_truncated"] is True
    assert facts["subject"] == "first commit"
    assert facts["untracked_truncated"] is True
    assert 0 < len(facts["untracked"]) <= git.UNTRACKED_CAP // 5 < facts["untracked_count"]


def test_the_scripts_repository_comes_before_the_working_directory(repository: Path, tmp_path: Path) -> None:
    """A script started from elsewhere is told by its own repository; one outside any by the working directory's."""
    program = "from tracelet.collectors.git import GitCollector\nprint(GitCollector().collect()['root'])\n"
    (repository / "train.py").write_text(program)
    loose = tmp_path / "loose.py"
    loose.write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(Path(git.__file__).parents[2])}
    for script, folder in ((repository / "train.py", tmp_path), (loose, repository)):
        out = subprocess.run(
            [sys.executable, str(script)], cwd=folder, env=environment, check=True, capture_output=True, text=True
        ).stdout
        assert out.strip() == str(repository.resolve())
