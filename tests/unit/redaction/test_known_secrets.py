"""Known credentials: found wherever they stand in a record, which stays readable; words are left alone."""

from __future__ import annotations

import msgspec
import pytest

from tracelet.journal.records import Event, Tags
from tracelet.redaction import known_secrets

KEY = "pl4in-looking/key&more"


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_secrets, "_registered", set())


def redacted(record: Tags | Event) -> Tags | Event:
    return msgspec.msgpack.decode(known_secrets.redact(msgspec.msgpack.encode(record)), type=type(record))


@pytest.mark.parametrize("options", [{"api_key": KEY}, {"headers": {"token": KEY}}, {"url": "https://me:pw12345678@h"}])
def test_what_a_backend_was_given_is_starred(options: dict[str, object]) -> None:
    """A key among options, nested ones and addresses too, becomes stars of its length, also inside other text."""
    secret = "pw12345678" if "url" in options else KEY
    known_secrets.register(options)
    found = redacted(Tags(time=1, values={"note": f"my {secret}!", "plain": "pl4in"}))
    assert found == Tags(time=1, values={"note": f"my {'*' * len(secret)}!", "plain": "pl4in"})


def test_the_environment_counts_at_once_and_quoted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set later is known from then on, and so is its form in an address."""
    event = Event(time=1, name="x", attributes={"text": f"{KEY} and pl4in-looking%2Fkey%26more"})
    assert redacted(event) == event
    monkeypatch.setenv("SOME_API_KEY", KEY)
    assert redacted(event) == Event(time=1, name="x", attributes={"text": f"{'*' * 22} and {'*' * 26}"})


@pytest.mark.parametrize("word", ["postgres", "12345678", "abc123", "/run/secrets/key1", ""])
def test_words_numbers_and_paths_are_no_secrets(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password that is an ordinary word would black out half a record: it is left."""
    monkeypatch.setenv("DB_PASSWORD", word)
    tags = Tags(time=1, values={"database": f"postgres 12345678 abc123 {word}"})
    assert redacted(tags) == tags
