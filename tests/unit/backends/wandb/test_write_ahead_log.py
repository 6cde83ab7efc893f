"""The rows kept for the SDK of Weights & Biases."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracelet.backends.wandb.write_ahead_log import WriteAheadLog


@pytest.mark.parametrize("torn", [b'[2, {"a"', b"\xff\xfe", b"5", b'["x", {}]', b"[1]", b"[7, 8]", b""])
def test_a_torn_line_takes_no_other_along(tmp_path: Path, torn: bytes) -> None:
    """A disk that was full, or a kill, left half a line: the rows before and after it are there."""
    path = tmp_path / "rows.jsonl"
    WriteAheadLog(path).append([(0, {"a": 1.0}), (1, {"a": 2.0})], {"lr": 0.1})
    with path.open("ab") as file:
        file.write(torn)
    WriteAheadLog(path).append([(2, {"a": 3.0})], {})
    found = WriteAheadLog(path)
    assert found.rows == {0: {"a": 1.0}, 1: {"a": 2.0}, 2: {"a": 3.0}}
    assert found.config == {"lr": 0.1}
