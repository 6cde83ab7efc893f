"""The files that backends upload: those of the run, whatever its journals claim."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracelet.backends.artifact_files import laid_out
from tracelet.backends.base import RunDescription
from tracelet.journal.records import Artifact
from tracelet.store.artifacts import DIGEST_SIZE, FOLDER, object_path, store_artifact


@pytest.fixture
def run(tmp_path: Path) -> RunDescription:
    """A run, in whose folder one file is kept, and a file beside it that is none of its business."""
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (tmp_path / "kept").write_text("kept", encoding="utf-8")
    store_artifact(tmp_path / "run", tmp_path / "kept", None, None, 1)
    return RunDescription(
        id="r", name="n", project="p", started=1.0, command=(), folder=str(tmp_path), host="h", params={}, tags={},
        git={}, environment={}, artifacts_folder=tmp_path / "run" / FOLDER,
    )  # fmt: skip


def listed(run: RunDescription, body: str) -> Artifact:
    """A folder whose list of files is this text."""
    digest = "0" * (2 * DIGEST_SIZE)
    path = object_path(run.artifacts_folder.parent, digest)
    path.parent.mkdir(exist_ok=True)
    path.write_text(body, encoding="utf-8")
    return Artifact(time=1, name="f", path="f", kind="folder", size=1, digest=digest, metadata={"folder": True})


@pytest.mark.parametrize("where", ["{}/secret", "../../../secret", "..", "", "0" * 39, "0" * 39 + "\n"])
def test_what_is_no_digest_leads_nowhere(run: RunDescription, tmp_path: Path, where: str) -> None:
    """A journal, or the list of a folder's files, cannot have another file uploaded in the place of a kept one."""
    digest = where.format(tmp_path)
    claims = [listed(run, json.dumps({"a": [digest, 1]}))]
    if digest:
        claims.append(Artifact(time=1, name="a", path="a", kind="file", size=1, digest=digest))
    for artifact in claims:
        with pytest.raises(FileNotFoundError), laid_out(run, artifact):
            pass


def test_lists_that_cannot_be_laid_out_are_as_good_as_gone(run: RunDescription, tmp_path: Path) -> None:
    """A damaged list, names that exclude each other or that are none: told as gone, for it would never get better."""
    kept = store_artifact(tmp_path / "run", tmp_path / "kept", None, None, 1)
    entry = [kept.digest, kept.size]
    bodies = ["{", "[]", '{"a": 1}', "[" * 5000]
    bodies += [json.dumps(dict.fromkeys(names, entry)) for names in (("a", "a/b"), ("a\0b",), ("a" * 300,))]
    for body in bodies:
        with pytest.raises(FileNotFoundError), laid_out(run, listed(run, body)):
            pass
    with laid_out(run, listed(run, json.dumps({"../../b": entry}))) as folder:
        assert [path.relative_to(folder).as_posix() for path in folder.rglob("b")] == ["f/b"]
