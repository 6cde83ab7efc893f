"""Journals that nobody's tracelet has written: sound frames whose records hold what no field should.

For the tests of this folder. Every kind of record stands here in its sound form, and every field of it is replaced by
what an attacker, a broken disk or another program may have put there.
"""

from __future__ import annotations

import copy
import math
import os
import socket
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from tracelet.journal.column_packing import pack_floats, pack_integers
from tracelet.journal.frames import encode_frame, preamble

MARKUP = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
NOW = 1_700_000_000_000_000
KIND = {
    "started": 1, "points": 2, "params": 3, "tags": 4, "facts": 5, "event": 6, "artifact": 7, "status": 8, "notice": 9,
    "span": 10, "spans": 11, "console": 12, "footer": 255,
}  # fmt: skip
"""The numbers of the kinds, as the format of journals has them."""
Frame = tuple[int, Any]
"""A kind and what the frame is to hold."""

STARTED = {
    "run": "r1", "name": "one", "project": "p", "time": NOW, "host": socket.gethostname(), "pid": os.getpid(),
    "process_started": 1.0, "role": "rank", "rank": 0, "local_rank": 0, "node_rank": 0, "world_size": 1, "attempt": 0,
    "parent": "", "launch": "l", "branch": 0, "command": ["python", "train.py"], "folder": "/work", "version": "1",
    "resumed_from": "", "backends": {"jsonl": {}},
}  # fmt: skip
CHUNK = [
    "loss", 3, pack_integers([0, 1, 2]), pack_integers([NOW, NOW + 1, NOW + 2]), pack_floats([1.0, 0.5, 0.25]), "train",
    1, "mean", pack_integers([0, 0, 0]), pack_floats([4.0, 4.0, 4.0]), False, None, None,
]  # fmt: skip
SPANS = {
    "count": 2, "names": ["training_single_iteration", "model_forward"], "name_indexes": pack_integers([0, 1]),
    "ids": pack_integers([2, 3]), "parents": pack_integers([2, 2]),
    "starts": pack_integers([NOW * 1000, NOW * 1000 + 5]), "durations": pack_integers([100, 50]),
    "threads": pack_integers([1, 1]), "attributes": {0: {"step": 1}},
}  # fmt: skip
STATUS = {"time": NOW + 9, "status": "failed", "reason": "it broke", "traceback": "Trace", "expected": "", "about": ""}
SUMMARY = ["loss", 3, 0.25, 2, NOW + 2, 0.25, 2, 1.0, 0, False]
RECORDS: dict[str, Any] = {
    "started": STARTED,
    "points": {"chunks": [CHUNK]},
    "params": {"time": NOW, "values": {"lr": 0.1, "text": "a", "yes": True, "none": None}, "source": "user"},
    "tags": {"time": NOW, "values": {"team": "a"}},
    "facts:git": {"time": NOW, "topic": "git", "values": {
        "commit": "a" * 40, "branch": "main", "subject": "s", "dirty": True, "diff": "+a", "untracked": ["b"],
        "untracked_count": 1, "remotes": {"origin": "https://x"}, "submodules": {"s": {"commit": "a", "state": "s"}},
    }},
    "facts:environment": {"time": NOW, "topic": "environment", "values": {
        "python": {"version": "3.11", "prefix": "/usr"}, "platform": {"system": "Linux", "release": "6"},
        "machine": {"cpu_count": 2, "cpu_model": "CPU", "memory_bytes": 2**33}, "packages": {"torch": "2.0"},
        "torch": {"cuda": "12"}, "command": {"arguments": ["train.py"], "folder": "/work"}, "job": {"slurm": {}},
    }},
    "facts:model": {"time": NOW, "topic": "model", "values": {"name": "Net", "parameters": 5, "layers": ["a"]}},
    "event": {"time": NOW, "name": "fit_started", "attributes": {"epochs": 3}, "span": 1},
    "artifact": {
        "time": NOW, "name": "model.pt", "path": "/tmp/model.pt", "kind": "checkpoint", "size": 3, "digest": "",
        "metadata": {"score": 0.5, "best": True, "monitor": "val/loss"},
    },
    "status": STATUS,
    "notice": {"time": NOW, "code": "lost", "message": "points were lost", "count": 3},
    "span": {
        "id": 1, "name": "training_loop", "start_ns": NOW * 1000, "duration_ns": 1000, "parent": 0, "thread": 1,
        "attributes": {"max_steps": 3}, "error": "",
    },
    "spans": SPANS,
    "console": {"time": NOW, "stream": "stdout", "lines": [[0, 5, "epoch 1"], [1, 9, "epoch 2"]]},
}  # fmt: skip


def deep(levels: int) -> Any:
    """Lists within lists."""
    found: Any = "deep"
    for _ in range(levels):
        found = [found]
    return found


def deep_facts(levels: int) -> Frame:
    """Facts that hold lists within lists, deeper than Python likes to hold them."""
    lists = msgspec.Raw(b"\x91" * levels + b"\xa4deep")
    values = {"time": NOW, "topic": "model", "values": {"name": "Net", "layers": lists}}
    return KIND["facts"], msgspec.msgpack.encode(values)


HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), math.nan, math.inf, -math.inf, 1e308, "",
    MARKUP, "running", "node", "../../../etc/passwd", "a\0b", "\x1b]0;title\x07\x1b[2J", "\u202egnp.exe", "x" * 100_000,
    "\ud7ff\U0010ffff", b"", b"\xff" * 9, [], [1], {}, {"a": {}}, {1: 2}, {"a": {1: {2.5: 3}}}, {"a": {True: b"\0"}},
    {"a": msgspec.msgpack.Ext(5, b"x")}, {"a": datetime(9999, 12, 31, tzinfo=timezone.utc)}, deep(30), deep(120),
    {"a": {"b": deep(120)}}, {MARKUP: MARKUP}, {"diff": 5, "commit": 7, "packages": [1, 2], "python": [deep(3)]},
    ("=", 2**62, 2**62), ("q", -(2**63), b"\xff" * 16), ("d", 0.0, b"\xff" * 24), ("*", math.nan, b""), ("zd", 0, b"x"),
)  # fmt: skip


def _places(found: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something can be replaced: every field, however deep."""
    places = [path] if path else []
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, (list, tuple)) else ()
    for key, inner in items:
        places += _places(inner, (*path, key))
    return places


def _listed(found: Any) -> Any:
    """A copy in which everything can be replaced."""
    if isinstance(found, dict):
        return {key: _listed(inner) for key, inner in found.items()}
    return [_listed(inner) for inner in found] if isinstance(found, (list, tuple)) else copy.copy(found)


def replaced(record: Any, place: Sequence[Any], value: Any) -> Any:
    """The record with another value in one place."""
    found = _listed(record)
    inner = found
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return found


PLACES = [(name, place) for name, record in RECORDS.items() for place in _places(record)]
"""Every field of every record."""


@st.composite
def frames(draw: st.DrawFn) -> list[Frame]:
    """A journal's frames: one of each kind, some fields of which are what they should not be."""
    records = {name: _listed(record) for name, record in RECORDS.items()}
    for _ in range(draw(st.integers(1, 4))):
        name, place = draw(st.sampled_from(PLACES))
        try:
            records[name] = replaced(records[name], place, draw(st.sampled_from(HOSTILE)))
        except (KeyError, IndexError, TypeError):
            continue  # what held it was replaced before
    found: list[Frame] = journal(records)
    if draw(st.booleans()):
        found.append((draw(st.integers(13, 253)), draw(st.sampled_from(HOSTILE))))
    if draw(st.booleans()):
        found.append((KIND["footer"], footer(records, draw(st.sampled_from(HOSTILE)), draw(st.sampled_from(HOSTILE)))))
    return found


def journal(records: dict[str, Any]) -> list[Frame]:
    """The frames of these records."""
    return [(KIND[name.partition(":")[0]], record) for name, record in records.items()]


def footer(records: dict[str, Any], params: Any, count: Any) -> dict[str, Any]:
    """What sealing appends, with parameters and a metric's count of somebody's choice."""
    return {
        "started": records["started"], "status": records["status"], "params": params, "tags": {MARKUP: MARKUP},
        "metrics": [replaced(SUMMARY, [1], count), ["unknown", 5, 0.1, 4, NOW, 0.1, 4, 1.0, 0]], "frames": 12,
        "others": [[7, 3, 2**63]], "points": b"\xff" * 20,
    }  # fmt: skip


def encoded(value: Any) -> bytes:
    """As msgpack; raw bytes are taken as such, if they are the whole frame."""
    return value if isinstance(value, bytes) else msgspec.msgpack.encode(value)


def write(folder: Path, frames: Sequence[Frame], name: str = "rank-0.0.tlj") -> Path:
    """The journal of a run; sealed if it ends with a footer."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [preamble(), *(encode_frame(kind, number, encoded(value)) for number, (kind, value) in enumerate(frames))]
    place = sum(map(len, parts[:-1]))
    if frames and frames[-1][0] == KIND["footer"]:
        parts.append(encode_frame(254, len(frames), place.to_bytes(8, "little")))
    path = folder / name
    path.write_bytes(b"".join(parts))
    return path
