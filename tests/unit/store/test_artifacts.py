"""Artifacts: copies that are content addressed, complete or absent, and never follow links out of a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tracelet.errors import ArtifactNotFound
from tracelet.journal.records import Artifact, Event
from tracelet.store.artifacts import FOLDER, manifest, object_path, replaced_references, store_artifact


def test_the_same_bytes_are_kept_once(tmp_path: Path) -> None:
    """Two files with equal content share one copy, and the copy does not change with the original."""
    run = tmp_path / "run"
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(b"weights" * 1000)
    first, second = (store_artifact(run, tmp_path / name, None, None, 1) for name in ("a.txt", "b.txt"))
    (tmp_path / "a.txt").write_bytes(b"other")
    assert first.digest == second.digest
    assert (first.name, second.name) == ("a.txt", "b.txt")
    assert object_path(run, first.digest).read_bytes() == b"weights" * 1000
    assert len([path for path in (run / FOLDER).rglob("*") if path.is_file()]) == 1


def test_a_folder_keeps_its_tree_and_does_not_follow_links_out(tmp_path: Path) -> None:
    """A folder's manifest lists every regular file by relative path; a link to a folder is not walked."""
    source = tmp_path / "model"
    (source / "deep").mkdir(parents=True)
    (source / "config.json").write_text("{}")
    (source / "deep" / "ünï.bin").write_bytes(b"\0" * 3)
    os.symlink("/etc", source / "outside")
    artifact = store_artifact(tmp_path / "run", source, "checkpoint", "model", 1)
    files = manifest(tmp_path / "run", artifact)
    assert set(files) == {"config.json", "deep/ünï.bin"}
    assert (artifact.size, artifact.kind, artifact.name) == (5, "model", "checkpoint")
    assert object_path(tmp_path / "run", files["config.json"][0]).read_text() == "{}"


def test_the_store_is_not_copied_into_itself(tmp_path: Path) -> None:
    """The artifact `.` is the working directory without the store in it; what is no file is counted as left out."""
    (tmp_path / "train.py").write_text("pass")
    os.symlink("nowhere", tmp_path / "broken")
    run = tmp_path / ".tracelet" / "runs" / "id"
    run.mkdir(parents=True)
    (run / "rank-0.0.tlj").write_bytes(b"journal")
    artifact = store_artifact(run, tmp_path, None, None, 1)
    assert set(manifest(run, artifact)) == {"train.py"}
    assert artifact.metadata == {"folder": True, "files": 1, "left_out": 1}


def test_a_missing_path_is_an_error_at_the_call(tmp_path: Path) -> None:
    """The error is a FileNotFoundError that names the path, and nothing is recorded."""
    with pytest.raises(ArtifactNotFound, match=r"nowhere\.pt"):
        store_artifact(tmp_path, tmp_path / "nowhere.pt", None, None, 1)
    assert not (tmp_path / FOLDER).exists()


def test_a_fifo_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    """What is neither file nor folder would block the caller for ever, so it is an error."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactNotFound, match="neither a file nor a folder"):
        store_artifact(tmp_path, tmp_path / "pipe", None, None, 1)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "allow this user to use /model.pt"),
        (errno.EIO, "are reachable"),
    ],
)
def test_a_disk_that_refuses_is_said_with_what_helps(
    number: int, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Space is only asked for where there was none; the run notes what was not kept, and the program goes on."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/model.pt")

    monkeypatch.setattr(tracelet.store.artifacts, "store_artifact", refuse)
    config = dict.fromkeys(("track_lightning", "track_system", "track_git", "track_env"), False)
    with tracelet.start_logging("a", config={**config, "delivery": "off"}) as experiment:
        experiment.log_artifact(tmp_path / "model.pt")
    said = caplog.text
    assert remedy in said
    assert ("free some space" in said) is (number in (errno.ENOSPC, errno.EDQUOT))
    assert "was not stored" in tracelet.open_store().run("latest").problems[0]


def test_logged_artifacts_are_read_back(tmp_path: Path) -> None:
    """`log_artifact` puts a copy into the run that the reader finds by digest."""
    (tmp_path / "plot.svg").write_text("<svg/>")
    config = dict.fromkeys(("track_lightning", "track_system", "track_git", "track_env"), False)
    with tracelet.start_logging("a", config={**config, "delivery": "off"}) as experiment:
        experiment.log_artifact(tmp_path / "plot.svg", kind="plot")
    run = tracelet.open_store().run("latest")
    (artifact,) = run.artifacts
    assert (artifact.name, artifact.kind, artifact.size) == ("plot.svg", "plot", 6)
    assert object_path(run.path, artifact.digest).read_text() == "<svg/>"


def test_checkpoints_that_are_no_more_are_told() -> None:
    """A file that was written over is listed once, as it is now; one that was removed and written again is there."""
    found = [
        Artifact(time=time, name=path, path=path, kind="checkpoint", digest=digest)
        for time, path, digest in (
            (1, "w", ""), (2, "w", ""), (3, "last", ""), (4, "last", ""), (5, "once", ""), (6, "copy", "abc"),
            (7, "copy", "abc"), (8, "again", ""),
        )
    ]  # fmt: skip
    removals = [Event(time=time, name="checkpoint_removed", attributes={"path": path}) for time, path in (
        (6, "once"), (7, "again"), (9, "copy"), (9, "other"),
    )]  # fmt: skip
    assert replaced_references(found, removals) == {0, 2, 4}


@pytest.fixture
def umask() -> Iterator[None]:
    """A process whose new files may be read by its group, and written by their owner alone."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """The permissions of a file."""
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(("original", "copy"), [(0o600, 0o600), (0o644, 0o640), (0o755, 0o750), (0o400, 0o400)])
def test_a_copy_has_the_mode_of_the_original(umask: None, tmp_path: Path, original: int, copy: int) -> None:
    """A private file stays private, and the umask counts."""
    source = tmp_path / "key.pem"
    source.write_text("x")
    source.chmod(original)
    artifact = store_artifact(tmp_path / "run", source, None, None, 1)
    assert mode(object_path(tmp_path / "run", artifact.digest)) == copy


def test_equal_bytes_of_a_private_file_stay_private(tmp_path: Path) -> None:
    """In either order, the copy that two files share has the stricter mode."""
    for name, permissions in (("a", 0o600), ("b", 0o644), ("c", 0o600)):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(permissions)
        artifact = store_artifact(tmp_path / "run", tmp_path / name, None, None, 1)
        assert mode(object_path(tmp_path / "run", artifact.digest)) == 0o600


def test_the_list_of_a_private_folder_is_private(tmp_path: Path) -> None:
    """The names in a folder that only its owner may list are not told to others."""
    source = tmp_path / "private"
    source.mkdir(mode=0o700)
    (source / "a").write_text("x")
    artifact = store_artifact(tmp_path / "run", source, None, None, 1)
    assert mode(object_path(tmp_path / "run", artifact.digest)) == 0o600
