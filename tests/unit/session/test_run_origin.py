"""The signature by which a user knows the runs that he recorded himself."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from tests.journals import started
from tracelet.session.run_origin import is_own, signed

DESTINATIONS = {"jsonl": {"path": "lines.jsonl"}}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has no key yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.mark.parametrize(
    "change", [{"run": "r2"}, {"folder": "/"}, {"backends": {"jsonl": {"path": "/x"}}}, {"origin": ""}, {"origin": "é"}]
)
def test_a_signature_holds_for_the_destinations_of_one_run(state: Path, change: dict[str, object]) -> None:
    """The run's record is own; with another run, folder or destination, or another signature, it is not."""
    record = signed(started(backends=DESTINATIONS, folder="/tmp"))
    assert is_own(record)
    assert not is_own(msgspec.structs.replace(record, **change))


def test_another_user_does_not_own_the_run(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another key, or with none, the run is foreign."""
    record = signed(started(backends=DESTINATIONS))
    monkeypatch.setenv("XDG_STATE_HOME", str(state.with_name("other")))
    assert not is_own(record)
    signed(started(backends=DESTINATIONS))
    assert not is_own(record)


def test_the_key_is_private_and_made_for_a_backend_alone(state: Path) -> None:
    """A run without a backend leaves no file; the key can be read by its owner alone."""
    assert signed(started()).origin == ""
    assert not state.exists()
    signed(started(backends=DESTINATIONS))
    (key,) = (path for path in state.rglob("*") if path.is_file())
    assert key.stat().st_mode & 0o777 == 0o600


def test_without_a_place_for_the_key_nothing_is_signed(state: Path) -> None:
    """A state folder that cannot be made costs the signature, and raises nothing."""
    state.write_text("")
    assert signed(started(backends=DESTINATIONS)).origin == ""


def test_a_folder_whose_name_is_no_text_is_signed_without_an_error(state: Path) -> None:
    """Bytes of a file name that are not UTF-8 raise nothing."""
    assert signed(started(backends=DESTINATIONS, folder=os.fsdecode(b"/tmp/\xff"))).origin
