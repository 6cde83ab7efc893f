"""The scalars of a block of records as columns: decodes similar records together, with numpy.

Called by the importer for each block. Nearly all records of an event file are scalars of a few tags, and those of one
tag differ only in the bytes of their time, step and value. One record is decoded field by field; all others of its
length with the same bytes elsewhere are read at the same offsets, and their checksums are derived from its checksum.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tracelet.importers.event_files.checksums import crc32c, effect, masked_array
from tracelet.importers.event_files.event import Event, decode
from tracelet.importers.event_files.event_file import TAIL, Block

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Places = npt.NDArray[np.int64]

LONGEST_ALIKE = 512
"""Bytes of records that are processed together; longer ones contain images and texts."""
FEW = 4
"""Below this number of records of one length, they are decoded one by one."""
MANY_TAGS = 4
"""If a record matches less than a fourth of those of its length, they are sorted by their bytes first."""


@dataclass
class Column:
    """Points of one tag: int64[n] positions of their records in the block, float64[n] times in seconds,
    steps, values.
    """

    places: Places
    times: npt.NDArray[np.float64]
    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@dataclass
class Decoded:
    """The content of a block: columns by tag, and single events that are more than one scalar, with their positions."""

    columns: dict[str, list[Column]] = field(default_factory=dict)
    events: list[tuple[int, Event]] = field(default_factory=list)
    damaged: int = 0


def decoded(block: Block) -> Decoded:
    """The content of the block."""
    found = Decoded()
    data = np.frombuffer(block.data, dtype=np.uint8)
    for length in np.unique(block.lengths).tolist():
        places = np.flatnonzero(block.lengths == length)
        if length > LONGEST_ALIKE or len(places) < FEW:
            for place in places.tolist():
                _decode_alone(block, place, found)
        else:
            rows = data[block.offsets[places][:, None] + np.arange(length + TAIL)]
            _decode_alike(block, rows, places, found)
    found.events.sort(key=lambda pair: pair[0])
    return found


def _decode_alone(block: Block, place: int, found: Decoded) -> None:
    start = int(block.offsets[place])
    end = start + int(block.lengths[place])
    if end - start <= LONGEST_ALIKE:
        stored = int.from_bytes(block.data[end : end + TAIL], "little")
        expected = int(masked_array(np.array([crc32c(block.data[start:end])], dtype=np.uint32))[0])
        if stored != expected:
            found.damaged += 1
            return
    try:
        found.events.append((place, decode(block.data, start, end)))
    except ValueError:
        found.damaged += 1


def _decode_alike(block: Block, rows: Bytes, places: Places, found: Decoded) -> None:
    """Decode records of one length; `rows` has their bytes and checksums, uint8[n, length + 4]."""
    pending = [np.arange(len(rows))]
    while pending:
        chosen = pending.pop()
        if len(chosen) < FEW:
            for one in chosen.tolist():
                _decode_alone(block, int(places[one]), found)
            continue
        template = rows[chosen[0]]
        layout = _layout(template)
        if layout is None:
            _decode_alone(block, int(places[chosen[0]]), found)
            pending.append(chosen[1:])
            continue
        alike = _alike(rows, chosen, template, layout)
        rest = chosen[~alike]
        if len(rest):
            pending += _sorted_out(rows, rest, layout) if alike.sum() * MANY_TAGS < len(chosen) else [rest]
        _take(rows, chosen[alike], places, layout, found)


@dataclass(frozen=True)
class _Layout:
    """The positions of a scalar record's parts; `fixed` bool[length]: bytes that are the same for all of its tag."""

    tag: str
    wall: int
    step: tuple[int, int]
    """Start and end; equal if there is no step, which means step 0."""
    value: int
    kind: str
    fixed: npt.NDArray[np.bool_]


def _layout(row: Bytes) -> _Layout | None:
    """None for a record that is not exactly one scalar."""
    data = row.tobytes()
    length = len(data) - TAIL
    try:
        event = decode(data, 0, length)
    except ValueError:
        return None
    if len(event.numbers) != 1 or event.others or event.version or event.resumed or event.wall_start < 0:
        return None
    number = event.numbers[0]
    step = (event.step_start, event.step_end) if event.step_start >= 0 else (0, 0)
    fixed = np.ones(length, dtype=np.bool_)
    fixed[event.wall_start : event.wall_start + 8] = False
    fixed[slice(*step)] = False
    fixed[number.start : number.start + int(number.kind[2])] = False
    return _Layout(number.tag, event.wall_start, step, number.start, number.kind, fixed)


def _alike(rows: Bytes, chosen: Places, template: Bytes, layout: _Layout) -> npt.NDArray[np.bool_]:
    """The chosen rows that have the template's bytes where these are fixed, and a step of the same length."""
    picked = rows[chosen]
    where = np.flatnonzero(layout.fixed)
    alike = (picked[:, where] == template[where]).all(axis=1)
    start, end = layout.step
    if end > start:
        more = picked[:, start:end] >= 0x80
        alike &= more[:, :-1].all(axis=1) & ~more[:, -1]
    return np.asarray(alike)


def _sorted_out(rows: Bytes, chosen: Places, layout: _Layout) -> list[Places]:
    """Group the rows by their bytes at the layout's fixed positions; rows that match no other form one group.

    The latter have another layout, in which some of these bytes are not fixed.
    """
    keys = np.ascontiguousarray(rows[chosen][:, np.flatnonzero(layout.fixed)])
    whole = keys.view(np.dtype((np.void, keys.shape[1]))).ravel()
    _, groups, sizes = np.unique(whole, return_inverse=True, return_counts=True)
    single = sizes[groups] < FEW
    order = np.flatnonzero(~single)[np.argsort(groups[~single], kind="stable")]
    edges = np.flatnonzero(np.diff(groups[order])) + 1
    found = [chosen[part] for part in np.split(order, edges)] if len(order) else []
    return [chosen[single], *found] if single.any() else found


def _take(rows: Bytes, chosen: Places, places: Places, layout: _Layout, found: Decoded) -> None:
    """The points of the rows whose checksums are correct."""
    picked = rows[chosen]
    sound = _checked(picked, layout)
    if not sound.all():
        found.damaged += int((~sound).sum())
        picked, chosen = picked[sound], chosen[sound]
    if len(picked):
        start, end = layout.step
        steps = np.zeros(len(picked), dtype=np.uint64)
        for shift, column in enumerate(range(start, end)):
            steps |= (picked[:, column].astype(np.uint64) & np.uint64(0x7F)) << np.uint64(7 * shift)
        found.columns.setdefault(layout.tag, []).append(
            Column(
                places[chosen], _numbers(picked, layout.wall, "<f8"), steps.view(np.int64),
                _numbers(picked, layout.value, layout.kind).astype(np.float64),
            )
        )  # fmt: skip


def _numbers(rows: Bytes, start: int, kind: str) -> npt.NDArray[np.float64]:
    width = int(kind[2])
    column: npt.NDArray[np.float64] = np.ascontiguousarray(rows[:, start : start + width]).view(kind).ravel()
    return column


def _checked(rows: Bytes, layout: _Layout) -> npt.NDArray[np.bool_]:
    """bool[n]: whether the checksum of each row is correct."""
    length = rows.shape[1] - TAIL
    crcs = np.full(len(rows), crc32c(rows[0, :length].tobytes()), dtype=np.uint32)
    for column in np.flatnonzero(~layout.fixed).tolist():
        crcs ^= effect(length - column)[rows[:, column] ^ rows[0, column]]
    stored = np.ascontiguousarray(rows[:, length:]).view("<u4").ravel()
    return np.asarray(masked_array(crcs) == stored)
