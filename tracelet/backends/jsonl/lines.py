"""Records of a batch as JSON lines, each with an id that does not depend on how the run was cut into batches.

Used by the `jsonl` backend on the courier's thread. The id of a line consists of the journal (which names the process
and its attempt), the number of the frame, and the place in it. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import msgspec

from tracelet.backends.base import Batch, SeriesPart
from tracelet.journal.records import KIND_OF, Artifact, Event, Facts, Params, Record, Tags

Line = dict[str, Any]
NAMES = {Params: "params", Tags: "tags", Facts: "facts", Artifact: "artifact", Event: "event"}


def lines(run: str, batch: Batch) -> Iterator[Line]:
    """One line per record, in the order of the batch."""
    for place, record in _placed(batch):
        yield {"id": f"{run}/{place}", "run": run, **record}


def frame_of(line_id: str) -> tuple[str, int] | None:
    """The journal and the frame in an id, after the run; None if it has none."""
    journal, colon, rest = line_id.partition(":")
    number = rest.partition(":")[0].partition("#")[0]
    return (journal, int(number)) if colon and number.isdecimal() else None


def _placed(batch: Batch) -> Iterator[tuple[str, Line]]:
    number = 0
    for part in batch.points:
        for place, line in _points(batch, part):
            yield place or f"{batch.id}#{number}", line
            number += 1
    if batch.records:
        for frame, record in batch.records:
            yield f"{batch.journal}:{frame}", _record(record)
    else:
        for line in _merged(batch):
            yield f"{batch.id}#{number}", line
            number += 1
    for span in batch.spans:
        place = f"{batch.journal}:span#{span.id}" if batch.journal else f"{batch.id}#span{span.id}"
        about = _plain(asdict(span))
        yield place, {"kind": "span", "span_id": about.pop("id"), **about}


def _points(batch: Batch, part: SeriesPart) -> Iterator[tuple[str, Line]]:
    before: Counter[int] = Counter()
    columns = zip(part.steps, part.values, part.times, part.epochs)
    series = f"{part.stage}:{part.fit}:{part.name}"
    for index, (step, value, time, epoch) in enumerate(columns):
        place = ""
        if part.frames:
            frame = part.frames[index]
            place = f"{batch.journal}:{frame}:{series}#{before[frame]}"
            before[frame] += 1
        yield place, {"kind": "point", "name": part.name, "step": step, "value": _number(value), "time": time,
                      "epoch": epoch, "stage": part.stage, "fit": part.fit}  # fmt: skip


def _record(record: Record) -> Line:
    kind = NAMES[type(record)] if type(record) in NAMES else str(KIND_OF[type(record)])
    if isinstance(record, (Params, Tags)):
        return {"kind": kind, "values": _plain(record.values)}
    if isinstance(record, Facts):
        return {"kind": kind, "topic": record.topic, "values": _plain(record.values)}
    return {"kind": kind, **_plain(msgspec.to_builtins(record, enc_hook=str))}


def _merged(batch: Batch) -> Iterator[Line]:
    """The records of a batch created by hand."""
    if batch.params:
        yield {"kind": "params", "values": _plain(batch.params)}
    if batch.tags:
        yield {"kind": "tags", "values": dict(batch.tags)}
    for topic, facts in batch.facts.items():
        yield {"kind": "facts", "topic": topic, "values": _plain(facts)}
    for record in (*batch.artifacts, *batch.events):
        yield _record(record)


def _number(value: float) -> float | str:
    """JSON has no NaN and no infinity: they become strings, as in protobuf's JSON."""
    if math.isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, type(None))) else msgspec.to_builtins(value, enc_hook=str)
