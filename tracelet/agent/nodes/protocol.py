"""The protocol between agents of different nodes: authenticated messages over TCP.

Used by `journal_receiver` and `journal_sender`, one thread per channel. Both sides know a secret from the training's
own store; it is never sent. Each message carries a code computed from the secret and its sequence number, so that
nobody can add, change or replay one. Like the training's gradients, messages are not encrypted. Every failure is an
OSError.
"""

from __future__ import annotations

import hmac
import os
import socket
import struct
import time
from hashlib import blake2b
from typing import TypeAlias

import msgspec

PROTOCOL_VERSION = b"tracelet nodes 2\n"
NONCE, PROOF, CODE = 32, 32, 16
LENGTH = struct.Struct("<I")
MAX_MESSAGE = 8 * 1024 * 1024
"""Bytes of one message: a message of journal segments is much smaller."""
TIMEOUT = 20.0
"""Seconds without an answer after which a connection counts as lost."""


class Register(msgspec.Struct, tag=True, frozen=True):
    """The first message of a node: a unique name for it, and its host."""

    node: str
    host: str


class OfferJournal(msgspec.Struct, tag=True, frozen=True):
    """The node has a journal with this name and this beginning."""

    name: str
    head: bytes


class Segment(msgspec.Struct, tag=True, frozen=True):
    """Bytes of a journal; `fresh`: from a rewritten journal, which replaces the old copy with its `last` segment."""

    name: str
    offset: int
    data: bytes
    age: float
    """Seconds since the last sign of life of its process: clocks differ, ages do not."""
    fresh: bool = False
    last: bool = False


class Segments(msgspec.Struct, tag=True, frozen=True):
    """The new data in all journals of a node."""

    segments: list[Segment]


class EndOfData(msgspec.Struct, tag=True, frozen=True):
    """Everything is sent; nothing more comes from this node."""


class CopyStatus(msgspec.Struct, tag=True, frozen=True):
    """The length and the CRC-32 of the existing copy of the offered journal."""

    size: int
    crc: int


class Received(msgspec.Struct, tag=True, frozen=True):
    """For each segment, the new end of its copy."""

    sizes: list[int]


class SharedFolder(msgspec.Struct, tag=True, frozen=True):
    """The folder is on a shared file system, so the journal is here already."""


class TryLater(msgspec.Struct, tag=True, frozen=True):
    """Not now; ask again."""

    why: str


Message: TypeAlias = Register | OfferJournal | Segments | EndOfData | CopyStatus | Received | SharedFolder | TryLater
_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class Channel:
    """One authenticated connection. For one thread."""

    def __init__(self, connection: socket.socket, outgoing: bytes, incoming: bytes) -> None:
        self._connection = connection
        self._outgoing, self._incoming = outgoing, incoming
        self._sent = self._received = 0

    def send(self, message: Message) -> None:
        """Send one message."""
        payload = _encode(message)
        code = _code(self._outgoing, self._sent, payload)
        self._sent += 1
        self._connection.sendall(LENGTH.pack(len(payload)) + code + payload)

    def receive(self) -> Message:
        """The next message. OSError if the other side is silent, disconnected, or replaced."""
        (length,) = LENGTH.unpack(receive_exactly(self._connection, LENGTH.size))
        if length > MAX_MESSAGE:
            raise ConnectionAbortedError("the message exceeds the size limit")
        code = receive_exactly(self._connection, CODE)
        payload = receive_exactly(self._connection, length)
        if not hmac.compare_digest(code, _code(self._incoming, self._received, payload)):
            raise ConnectionAbortedError("the message is not signed with this launch's secret")
        self._received += 1
        try:
            return _decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise ConnectionAbortedError(f"the other node runs a different version of tracelet ({error})") from None

    def ask(self, message: Message) -> Message:
        """Send, and return the answer."""
        self.send(message)
        return self.receive()


def accept(connection: socket.socket, secret: bytes) -> Channel:
    """The listening side: accept only a peer that knows the secret. OSError for all others."""
    connection.settimeout(TIMEOUT)
    mine = os.urandom(NONCE)
    connection.sendall(PROTOCOL_VERSION + mine)
    deadline = time.monotonic() + TIMEOUT  # for the whole handshake, even with a peer that sends single bytes
    theirs, proof = receive_exactly(connection, NONCE, deadline), receive_exactly(connection, PROOF, deadline)
    connection.settimeout(TIMEOUT)
    if not hmac.compare_digest(proof, _derive(secret, b"I forward", mine + theirs)):
        raise ConnectionAbortedError("a peer connect without this launch's secret")
    connection.sendall(_derive(secret, b"I receive", mine + theirs))
    return Channel(
        connection, _derive(secret, b"from leader", mine + theirs), _derive(secret, b"to leader", mine + theirs)
    )


def connect(connection: socket.socket, secret: bytes) -> Channel:
    """The connecting side: prove knowledge of the secret, and have the other side prove it. OSError if it does not."""
    connection.settimeout(TIMEOUT)
    if receive_exactly(connection, len(PROTOCOL_VERSION)) != PROTOCOL_VERSION:
        raise ConnectionAbortedError("the peer is not this version of tracelet")
    nonces = receive_exactly(connection, NONCE) + (mine := os.urandom(NONCE))
    connection.sendall(mine + _derive(secret, b"I forward", nonces))
    if not hmac.compare_digest(receive_exactly(connection, PROOF), _derive(secret, b"I receive", nonces)):
        raise ConnectionAbortedError("the peer does not know this launch's secret")
    return Channel(connection, _derive(secret, b"to leader", nonces), _derive(secret, b"from leader", nonces))


def _derive(secret: bytes, purpose: bytes, nonces: bytes) -> bytes:
    return blake2b(purpose + b":" + nonces, key=secret, digest_size=PROOF).digest()


def _code(key: bytes, number: int, payload: bytes) -> bytes:
    digest = blake2b(number.to_bytes(8, "little"), key=key, digest_size=CODE)
    digest.update(payload)
    return digest.digest()


def receive_exactly(connection: socket.socket, length: int, deadline: float | None = None) -> bytes:
    """Read exactly this many bytes, before `deadline` (monotonic clock) if given."""
    found = bytearray()
    while len(found) < length:
        if deadline is not None:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
        block = connection.recv(min(length - len(found), 1024 * 1024))
        if not block:
            raise ConnectionResetError("the connection was closed")
        found += block
    return bytes(found)
