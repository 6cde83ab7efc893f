"""Decodes the data of TensorBoard's hparams plug-in: hyperparameters and the session's status. Pure.

Field numbers are those of TensorBoard's `plugins/hparams/plugin_data.proto` and protobuf's `struct.proto`.
"""

from __future__ import annotations

from typing import Union

from tracelet.importers.protobuf import BYTES, FIXED64, VARINT, Field, fields, number, text
from tracelet.journal.records import FAILED, FINISHED, RUNNING, Scalar

PLUGIN = "hparams"
SESSION_START, SESSION_END = 3, 4
STATUSES = {1: FINISHED, 2: FAILED, 3: RUNNING}


def session_params(content: bytes) -> dict[str, Scalar]:
    """The hyperparameters in the plug-in's bytes; ValueError if they are not the plug-in's."""
    found: dict[str, Scalar] = {}
    for part in fields(content, 0, len(content)):
        if part.number == SESSION_START and part.wire == BYTES:
            for entry in fields(content, part.start, part.end):
                if entry.number == 1 and entry.wire == BYTES:
                    name, value = _entry(content, entry)
                    found[name] = value
    return found


def session_status(content: bytes) -> Union[str, None]:
    """The session's status, if the plug-in's bytes contain one."""
    for part in fields(content, 0, len(content)):
        if part.number == SESSION_END and part.wire == BYTES:
            for entry in fields(content, part.start, part.end):
                if entry.number == 1 and entry.wire == VARINT:
                    return STATUSES.get(entry.value)
    return None


def _entry(content: bytes, message: Field) -> tuple[str, Scalar]:
    name: str = ""
    value: Scalar = None
    for part in fields(content, message.start, message.end):
        if part.number == 1 and part.wire == BYTES:
            name = text(content, part)
        elif part.number == 2 and part.wire == BYTES:
            value = _value(content, part)
    return name, value


def _value(content: bytes, message: Field) -> Scalar:
    for part in fields(content, message.start, message.end):
        if part.number == 2 and part.wire == FIXED64:
            return number(content, part)
        if part.number == 3 and part.wire == BYTES:
            return text(content, part)
        if part.number == 4 and part.wire == VARINT:
            return bool(part.value)
    return None
