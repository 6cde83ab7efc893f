"""What people say about a run: a file that anybody may have written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracelet.store import annotations as remarks
from tracelet.store.annotations import FILE, Remark


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"name": 3}', b'{"x": ' + b"[" * 50_000])
def test_what_cannot_be_read_is_no_remark(tmp_path: Path, content: bytes) -> None:
    """A damaged or hostile file says nothing, and the run is listed like others."""
    assert remarks.read(tmp_path) == Remark()
    (tmp_path / FILE).write_bytes(content)
    assert remarks.read(tmp_path) == Remark()


def test_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Name, tags and pin survive; nothing but the file is left in the folder, and others may read it."""
    whole = Remark(name="böse", tags={"a": "", "b": "c"}, pinned=True)
    remarks.write(tmp_path, Remark())
    remarks.write(tmp_path, whole)
    assert remarks.read(tmp_path) == whole
    assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [(FILE, 0o644)]
