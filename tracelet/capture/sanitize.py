"""Replaces values that msgpack cannot encode: strings with lone surrogates, integers beyond 64 bits, unknown objects.

Used by the writer, on its thread, for the one record in a million that needs it. Never calls an unknown object's
`repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from tracelet import guard
from tracelet.journal.records import KIND_OF, Points, Record, Spans

RecordType = TypeVar("RecordType", bound=Record)
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
MAX_DEPTH = 50
"""Levels of nesting that are kept; ends values that contain themselves."""


def storable_text(text: str) -> str:
    r"""The text itself if UTF-8 can hold it, else with what it cannot hold written as `\udc80`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def sanitized(record: RecordType) -> RecordType | None:
    """The record if it can be stored, else one close to it that can; None (and said once) if neither."""
    kind = type(record)
    with guard.guard(f"recording {kind.__name__.lower()}"):
        try:
            msgspec.msgpack.encode(record)
        except (TypeError, ValueError, OverflowError, RecursionError):
            if kind not in KIND_OF or isinstance(record, (Points, Spans)):
                raise  # packed columns: the packer has seen to them
        else:
            return record
        fields = {name: _sanitize(getattr(record, name), MAX_DEPTH) for name in record.__struct_fields__}
        sound = kind(**fields)
        msgspec.msgpack.decode(msgspec.msgpack.encode(sound), type=kind)
        return sound
    return None


def _sanitize(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, str):
        return storable_text(str.__str__(value))
    if isinstance(value, int):
        return int(value) if INT64_MIN <= value <= INT64_MAX else hex(value)
    if isinstance(value, (bytes, msgspec.Struct)):
        return value
    if depth and isinstance(value, Mapping):
        return {_sanitize(key, 0): _sanitize(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [_sanitize(item, depth - 1) for item in value]
    return f"{type(value).__module__}.{type(value).__qualname__}"
