"""The files that backends upload: those of the run, whatever its journals claim."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracelet.backends.artifact_files import link_tree, safe_path
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
        with pytest.raises(FileNotFoundError), link_tree(run, artifact):
            pass


def test_lists_that_cannot_be_laid_out_are_as_good_as_gone(run: RunDescription, tmp_path: Path) -> None:
    """A damaged list, names that exclude each other or that are none: told as gone, for it would never get better."""
    kept = store_artifact(tmp_path / "run", tmp_path / "kept", None, None, 1)
    entry = [kept.digest, kept.size]
    bodies = ["{", "[]", '{"a": 1}', "[" * 5000]
    bodies += [json.dumps(dict.fromkeys(("a", "a/b"), entry))]
    for body in bodies:
        with pytest.raises(FileNotFoundError), link_tree(run, listed(run, body)):
            pass
    with link_tree(run, listed(run, json.dumps({"../../b": entry}))) as folder:
        assert [path.relative_to(folder).as_posix() for path in folder.rglob("b-*")] == [
            str("f" / safe_path("../../b"))
        ]


def test_no_two_names_become_one_path() -> None:
    """Names that are no paths are made some, each its own; those that are paths stay as they are."""
    names = ["a/b", "a//b", "a/./b", "a\\b", "../a/b", "a\nb", "a\0b", "a_b", "a" * 300, "a" * 301, "", "artifact"]
    found = [str(safe_path(name)) for name in names]
    assert len(set(found)) == len(names)
    assert (found[0], found[7], found[-1]) == ("a/b", "a_b", "artifact")
    assert not any(set("\n\0") & set(path) for path in found)
