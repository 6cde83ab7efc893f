"""What people say about a run: a file that anybody may have written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracelet.store.annotations import FILE_NAME, Annotations, read_annotations, write_annotations


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"name": 3}', b'{"x": ' + b"[" * 50_000])
def test_what_cannot_be_read_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """A damaged or hostile file says nothing, and the run is listed like others."""
    assert read_annotations(tmp_path) == Annotations()
    (tmp_path / FILE_NAME).write_bytes(content)
    assert read_annotations(tmp_path) == Annotations()


def test_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Name, tags and pin survive; nothing but the file is left in the folder, and others may read it."""
    whole = Annotations(name="böse", tags={"a": "", "b": "c"}, pinned=True)
    write_annotations(tmp_path, Annotations())
    write_annotations(tmp_path, whole)
    assert read_annotations(tmp_path) == whole
    assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [(FILE_NAME, 0o644)]
