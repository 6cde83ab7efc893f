"""Keeps records below the size that readers of a journal accept: splits what can be split, drops what cannot, alone.

`split_values` is used where a program gives parameters or tags, on its thread; `fitting` by the write queue, on the
writer's thread, for the record in a million that is too large all the same. Neither raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from tracelet import guard
from tracelet.capture.clock import now
from tracelet.journal.frames import MAX_FRAME_BYTES
from tracelet.journal.records import Console, Notice, Params, Points, Record, Tags

MAX_BYTES = MAX_FRAME_BYTES // 2
"""Of one encoded record: masking secrets may make it longer."""
MAX_VALUES_BYTES = 4 * 1024 * 1024
"""Of the names and texts in one record of parameters or tags: reading one must stay cheap."""
ENTRY_BYTES = 16
"""Of a number with what msgpack puts around it."""

Value = TypeVar("Value")


def split_values(values: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
    """The same mapping in parts of bounded size; once, whole, if it is small."""
    part: dict[str, Value] = {}
    size = 0
    for name, value in values.items():
        size += len(name) + ENTRY_BYTES + (len(value) if isinstance(value, str) else 0)
        if part and size > MAX_VALUES_BYTES:
            yield part
            part, size = {}, 0
        part[name] = value
    yield part


def fitting(record: Record) -> Iterator[Record]:
    """The record, or its parts, each small enough; a notice in place of what cannot be split."""
    size = len(msgspec.msgpack.encode(record))
    if size <= MAX_BYTES:
        yield record
        return
    field = {Params: "values", Tags: "values", Points: "chunks", Console: "lines"}.get(type(record), "")
    content: Any = getattr(record, field) if field else ()
    if len(content) < 2:
        yield _dropped(record, size)
        return
    entries = list(content.items()) if isinstance(content, dict) else list(content)
    middle = len(entries) // 2
    for half in (entries[:middle], entries[middle:]):
        yield from fitting(msgspec.structs.replace(record, **{field: type(content)(half)}))


def _dropped(record: Record, size: int) -> Notice:
    kind = type(record).__name__.lower()
    message = f"A record ({kind}) of {size:,} bytes was dropped: no reader accepts more than {MAX_BYTES:,}."
    guard.say(f"{message} Everything else is recorded.", once=f"too large:{kind}")
    return Notice(time=now(), code="size", message=message, count=1)
