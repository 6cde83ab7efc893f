"""What a courier remembers on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracelet.agent.delivery.courier_state import CourierState
from tracelet.backends.base import SeriesPart
from tracelet.errors import Unavailable
from tracelet.store import delivery_state
from tracelet.store.delivery_state import Pending

PENDING = Pending(journal="rank-0.0.tlj", start=(0, 16), stop=(4, 99))


def progress(folder: Path, said: list[str]) -> CourierState:
    return CourierState(folder, "probe", lambda text: text.replace("s3cret", "***"), said.append)


def test_a_new_courier_goes_on_where_the_former_one_was(tmp_path: Path) -> None:
    """Cursors, counts, memory and a batch that was begun are there again."""
    first = progress(tmp_path, [])
    first.remember("run", "remote-1")
    first.begin_batch(PENDING)
    first.delivered(PENDING, 7)
    first.begin_batch(Pending(journal="rank-0.0.tlj", start=(4, 99), stop=(6, 120)))
    second = progress(tmp_path, []).delivery
    assert second.cursors == {"rank-0.0.tlj": (4, 99)}
    assert (second.points, second.batches, second.memory) == (7, 1, {"run": "remote-1"})
    assert second.pending is not None
    assert second.pending.stop == (6, 120)


def test_an_outage_is_said_once_until_it_is_over(tmp_path: Path) -> None:
    """Again and again the backend does not answer: one line; after it has answered, the next outage is told again."""
    said: list[str] = []
    found = progress(tmp_path, said)
    for _ in range(3):
        found.offline("no route, key s3cret")
    found.delivered(PENDING, 1)
    found.offline("again")
    assert said == ["probe: offline, will retry: no route, key ***", "probe: offline, will retry: again"]
    assert found.delivery.error == "again"
    assert found.delivery.since > 0


def test_dead_letters_hold_the_record_and_the_reason(tmp_path: Path) -> None:
    """One line of JSON for each, whatever it was; values that JSON lacks do not stop it."""
    found = progress(tmp_path, [])
    found.opening()
    part = SeriesPart("bad", [1, 2], [float("nan"), 1.0], [0.5, 0.6], [-1, -1])
    found.reject("rank-0.0:0-4", [part, ("lr", 3), {"k": object}], "too odd, s3cret")
    letters = [json.loads(line) for line in (tmp_path / "delivery" / "probe.dead.jsonl").read_text().splitlines()]
    assert [letter["why"] for letter in letters] == ["too odd, ***"] * 3
    assert letters[0]["record"]["name"] == "bad"
    assert letters[1]["record"] == ["lr", 3]
    assert found.delivery.rejected == 3


def test_a_disk_that_refuses_is_said_and_delivery_goes_on(tmp_path: Path) -> None:
    """The state is kept in memory meanwhile; only what must not be forgotten is refused."""
    said: list[str] = []
    found = progress(tmp_path, said)
    (tmp_path / "delivery").touch()  # where the folder should be
    found.delivered(PENDING, 1)
    with pytest.raises(Unavailable):
        found.remember("run", "x")
    (tmp_path / "delivery").unlink()
    assert len(said) == 1
    found.delivered(PENDING, 1)
    kept = delivery_state.read(tmp_path, "probe")
    assert kept is not None
    assert kept.points == 2
