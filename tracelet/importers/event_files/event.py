"""Decodes one event of an event file: its time, its step, and its content. Pure.

Field numbers are those of TensorFlow's `event.proto`, `summary.proto` and `tensor.proto`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple, Union

from tracelet.importers.protobuf import BYTES, FIXED32, FIXED64, VARINT, Field, fields, number, signed, text

EVENT_WALL_TIME, EVENT_STEP, EVENT_VERSION, EVENT_SUMMARY, EVENT_SESSION_LOG = 1, 2, 3, 5, 7
VALUE_TAG, VALUE_SIMPLE, VALUE_TENSOR, VALUE_METADATA = 1, 2, 8, 9
VALUE_KINDS = {3: "old histogram", 4: "images", 5: "histograms", 6: "audio"}
TENSOR_DTYPE, TENSOR_SHAPE, TENSOR_CONTENT = 1, 2, 4
TENSOR_FLOAT, TENSOR_DOUBLE, TENSOR_STRING = 5, 6, 8
DT_FLOAT, DT_DOUBLE = 1, 2
SESSION_START = 1
FLOATS = {DT_FLOAT: "<f4", DT_DOUBLE: "<f8"}


class Number(NamedTuple):
    """A scalar, and the position of its bytes: `kind` is the numpy type of the `end - start` bytes at `start`."""

    tag: str
    tag_start: int
    tag_end: int
    start: int
    kind: str


class Other(NamedTuple):
    """A summary other than a scalar: its plug-in (or the old kind) and its first string, or its plug-in's own bytes."""

    tag: str
    plugin: str
    content: bytes


@dataclass
class Event:
    """One event. `wall_start` and the step's `step_start` to `step_end` are offsets of their bytes, -1 if absent."""

    wall_time: float = 0.0
    step: int = 0
    version: str = ""
    resumed: bool = False
    """Whether it marks the (re)start of a training: later steps before it are superseded."""
    wall_start: int = -1
    step_start: int = -1
    step_end: int = -1
    numbers: list[Number] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)


def decode(data: bytes, start: int, end: int) -> Event:
    """The event in `data[start:end]`; ValueError if it is invalid."""
    event = Event()
    for one in fields(data, start, end):
        if one.number == EVENT_WALL_TIME and one.wire == FIXED64:
            event.wall_time, event.wall_start = float(number(data, one)), one.start
        elif one.number == EVENT_STEP and one.wire == VARINT:
            event.step, event.step_start, event.step_end = signed(one.value), _varint_start(data, one.end), one.end
        elif one.number == EVENT_VERSION and one.wire == BYTES:
            event.version = text(data, one)
        elif one.number == EVENT_SESSION_LOG and one.wire == BYTES:
            event.resumed = _starts_session(data, one)
        elif one.number == EVENT_SUMMARY and one.wire == BYTES:
            for value in fields(data, one.start, one.end):
                if value.number == 1 and value.wire == BYTES:
                    _decode_value(data, value, event)
    return event


def _varint_start(data: bytes, end: int) -> int:
    start = end - 1
    while data[start - 1] & 0x80:
        start -= 1
    return start


def _starts_session(data: bytes, message: Field) -> bool:
    return any(one.number == 1 and one.value == SESSION_START for one in fields(data, message.start, message.end))


def _decode_value(data: bytes, message: Field, event: Event) -> None:
    tag, place, plugin, content, kind = "", (0, 0), "", b"", ""
    found: Union[tuple[int, str], None] = None
    for one in fields(data, message.start, message.end):
        if one.number == VALUE_TAG and one.wire == BYTES:
            tag, place = text(data, one), (one.start, one.end)
        elif one.number == VALUE_SIMPLE and one.wire == FIXED32:
            found = (one.start, "<f4")
        elif one.number == VALUE_TENSOR and one.wire == BYTES:
            found, content = _tensor(data, one)
        elif one.number == VALUE_METADATA and one.wire == BYTES:
            plugin, own = _plugin(data, one)
            content = content or own
        elif one.number in VALUE_KINDS and one.wire == BYTES:
            kind = VALUE_KINDS[one.number]
    if found is not None and plugin in ("", "scalars"):
        event.numbers.append(Number(tag, *place, *found))
    else:
        event.others.append(Other(tag, plugin or kind, content))


def _tensor(data: bytes, message: Field) -> tuple[Union[tuple[int, str], None], bytes]:
    """The position of a tensor's only number, and its numpy type; and the tensor's first string."""
    dtype, place, string = 0, None, b""
    for one in fields(data, message.start, message.end):
        if one.number == TENSOR_DTYPE and one.wire == VARINT:
            dtype = one.value
        elif one.number in (TENSOR_FLOAT, TENSOR_DOUBLE, TENSOR_CONTENT) and one.wire in (BYTES, FIXED32, FIXED64):
            place = one
        elif one.number == TENSOR_STRING and one.wire == BYTES and not string:
            string = data[one.start : one.end]
    kind = FLOATS.get(dtype)
    if kind is None or place is None or place.end - place.start != int(kind[2]):
        return None, string
    return (place.start, kind), string


def _plugin(data: bytes, message: Field) -> tuple[str, bytes]:
    """The name of a summary's plug-in, and the data that the plug-in stores in its first summary."""
    name, content = "", b""
    for one in fields(data, message.start, message.end):
        if one.number == 1 and one.wire == BYTES:
            for part in fields(data, one.start, one.end):
                if part.number == 1 and part.wire == BYTES:
                    name = text(data, part)
                elif part.number == 2 and part.wire == BYTES:
                    content = data[part.start : part.end]
    return name, content


def value_of(data: bytes, place: Number) -> float:
    """The number at this position."""
    return float(struct.unpack_from("<f" if place.kind == "<f4" else "<d", data, place.start)[0])
