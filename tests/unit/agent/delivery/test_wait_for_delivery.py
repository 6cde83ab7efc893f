"""What `stop_logging()` waits for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracelet.agent.delivery.wait_for_delivery import DeliveryWait
from tracelet.store import delivery_state
from tracelet.store.delivery_state import DONE, MISCONFIGURED, WAITING, Delivery


@pytest.mark.parametrize("state", [DONE, MISCONFIGURED])
def test_the_end_of_an_earlier_part_is_not_the_end(tmp_path: Path, state: str) -> None:
    """A resumed run finds what its first part was delivered as: that says nothing of what is recorded now."""
    delivery_state.write(tmp_path, Delivery(backend="mlflow", state=state, updated=10.0))
    assert DeliveryWait(tmp_path, ["mlflow"], True, bool, since=11.0).states()["mlflow"].state == WAITING
    assert DeliveryWait(tmp_path, ["mlflow"], True, bool, since=9.0).states()["mlflow"].state == state
