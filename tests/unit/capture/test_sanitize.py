"""Records that msgpack refuses become records that it takes, and sound ones are not touched."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelet.capture.sanitize import sanitized, storable_text
from tracelet.journal.records import Event, Params, Points, Status


@given(st.text(st.characters()))
def test_any_text_becomes_storable(text: str) -> None:
    """Every text, lone surrogates included, can be encoded afterwards; one that could be before is unchanged."""
    stored = storable_text(text)
    stored.encode("utf-8")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        assert stored != text
    else:
        assert stored == text


def test_a_sound_record_is_returned_itself() -> None:
    """Mending costs a sound record nothing and changes nothing."""
    record = Params(time=1, values={"a": 1})
    assert sanitized(record) is record


VALUES = st.recursive(
    st.one_of(st.integers(), st.text(st.characters()), st.floats(allow_nan=False), st.just(object()), st.just({1, 2})),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(st.characters()), inner, max_size=3)),
)


@given(st.dictionaries(st.text(st.characters()), VALUES))
def test_attributes_of_any_kind_become_storable(attributes: dict[str, Any]) -> None:
    """Whatever stands in an event, the mended one is stored, and reading it and storing it again changes nothing."""
    sound = sanitized(Event(time=1, name="e", attributes=attributes))
    assert sound is not None
    stored = msgspec.msgpack.encode(sound)
    assert msgspec.msgpack.encode(msgspec.msgpack.decode(stored, type=Event)) == stored


def test_a_value_that_contains_itself_ends() -> None:
    """A self-containing attribute is described at some depth."""
    loop: dict[str, Any] = {}
    loop["self"] = loop
    sound = sanitized(Event(time=1, name="e", attributes=loop))
    assert sound is not None
    msgspec.msgpack.encode(sound)


@pytest.mark.allow_guarded
def test_what_cannot_be_mended_is_left_out() -> None:
    """A record whose typed fields are wrong beyond repair is None, and said."""
    assert sanitized(Status(time=2**80, status="x")) is None
    assert sanitized(Points(chunks=[object()])) is None  # type: ignore[list-item]
