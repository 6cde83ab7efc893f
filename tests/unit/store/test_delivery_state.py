"""The files that say how far deliveries are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracelet.errors import SettingsError
from tracelet.store import delivery_state
from tracelet.store.delivery_state import Delivery, Pending


def test_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Every field survives; nothing but the file is left in the folder."""
    pending = Pending(journal="rank-0.0.tlj", start=(1, 20), stop=(3, 90))
    whole = Delivery(
        backend="mlflow", state="offline", cursors={"rank-0.0.tlj": (1, 20)}, pending=pending, memory={"run": "x"},
        url="http://x", points=3, batches=1, rejected=2, error="e", fix="f", since=1.5, updated=2.5,
    )  # fmt: skip
    delivery_state.write(tmp_path, Delivery(backend="mlflow"))
    delivery_state.write(tmp_path, whole)
    assert delivery_state.read(tmp_path, "mlflow") == whole
    assert [path.name for path in (tmp_path / "delivery").iterdir()] == ["mlflow.json"]
    assert list(delivery_state.read_all(tmp_path)) == [whole]


def test_a_name_that_is_no_text_comes_back(tmp_path: Path) -> None:
    """A folder may be called by bytes that are no UTF-8; where the delivery went, and why not, survives it."""
    odd = Delivery(backend="jsonl", url="/caf\udce9/x.jsonl", memory={"folder": "/caf\udce9"}, error="no /caf\udce9")
    delivery_state.write(tmp_path, odd)
    assert delivery_state.read(tmp_path, "jsonl") == odd


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"backend": 3}', b"\xff\xfe", b'{"backend": "x", "memory": {"a": ' + b"[" * 50_000]
)
def test_what_cannot_be_read_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """A damaged file is no delivery, and others are read."""
    delivery_state.write(tmp_path, Delivery(backend="good"))
    (tmp_path / "delivery" / "bad.json").write_bytes(content)
    assert delivery_state.read(tmp_path, "bad") is None
    assert [delivery.backend for delivery in delivery_state.read_all(tmp_path)] == ["good"]
    assert list(delivery_state.read_all(tmp_path / "none")) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", "A", ".hidden", "x" * 65])
def test_a_name_that_is_no_files_name_is_refused(name: str) -> None:
    """Backends' names become files, so they are checked."""
    with pytest.raises(SettingsError):
        delivery_state.checked_name(name)


def test_the_state_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    """It names accounts and addresses, which are nobody else's business."""
    delivery_state.write(tmp_path, Delivery(backend="jsonl"))
    assert delivery_state.state_path(tmp_path, "jsonl").stat().st_mode & 0o777 == 0o600
