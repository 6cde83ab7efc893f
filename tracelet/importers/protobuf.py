"""The wire format of protocol buffers, as far as the importers need it. Pure.

A message is read field by field; a value is decoded only on demand. ValueError if the bytes are not a message. Source:
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple, Union

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTHS = {FIXED64: 8, FIXED32: 4}
LONGEST_VARINT = 10


class Field(NamedTuple):
    """One field: its number, its wire type, and the position of its value in the buffer: `start` to `end`."""

    number: int
    wire: int
    value: int
    """Of a varint; 0 for the others."""
    start: int
    end: int


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """(value, offset after it) of the unsigned varint at `at`."""
    if at < end and data[at] < 0x80:
        return data[at], at + 1
    value = shift = 0
    for offset in range(at, min(end, at + LONGEST_VARINT)):
        byte = data[offset]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), offset + 1
        shift += 7
    raise ValueError("a varint that does not end")


def fields(data: bytes, at: int, end: int) -> Iterator[Field]:
    """The fields of the message in `data[at:end]`, in the order of their bytes."""
    while at < end:
        key, start = varint(data, at, end)
        number, wire = key >> 3, key & 7
        value = 0
        if wire == VARINT:
            value, at = varint(data, start, end)
        elif wire == BYTES:
            length, start = varint(data, start, end)
            at = start + length
        elif wire in WIDTHS:
            at = start + WIDTHS[wire]
        else:
            raise ValueError(f"no field has the wire type {wire}")
        if at > end or not number:
            raise ValueError("a field that ends behind its message")
        yield Field(number, wire, value, start, at)


def signed(value: int) -> int:
    """An unsigned varint as int64."""
    return value - 2**64 if value >= 2**63 else value


def text(data: bytes, field: Field) -> str:
    """A string field; invalid UTF-8 is replaced."""
    return data[field.start : field.end].decode("utf-8", errors="replace")


def number(data: bytes, field: Field) -> Union[float, int]:
    """A double, float or varint field as a number."""
    if field.wire == FIXED64:
        return float(struct.unpack_from("<d", data, field.start)[0])
    if field.wire == FIXED32:
        return float(struct.unpack_from("<f", data, field.start)[0])
    return signed(field.value)
