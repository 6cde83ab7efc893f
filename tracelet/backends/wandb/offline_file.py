"""Reads the file that Weights & Biases writes for a run: how far it is, and its rows.

Used by the `wandb` backend on the courier's thread, because the SDK does not say what is on disk: `log()` passes data
to another process and returns. The file is a LevelDB log (blocks of 32 KiB, records in one or more pieces) of
protobufs. Never writes to it; a file that a kill left with an incomplete record at its end is replaced by a copy
without it.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024
FILE_HEADER = 7
PIECE_HEADER = 7
"""CRC-32C (4 bytes), length (2), kind (1)."""
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

Row = dict[str, Any]


def message() -> Any:
    """The type of the records."""
    from wandb.proto import wandb_internal_pb2

    return wandb_internal_pb2.Record  # type: ignore[attr-defined]  # made at import time


class OfflineFile:
    """One `.wandb` file, read from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.highest = -1
        """The maximum step of the rows read so far."""
        self.ended = False
        """Whether the file has the end of the run."""
        self.artifacts: set[tuple[str, str]] = set()
        """Name and digest of the artifacts read so far."""
        self.described = False
        """Whether the record of the run itself was read."""
        self.incomplete = False
        """Whether the file ended within a record when it was last read."""
        self._place = FILE_HEADER

    def read(self) -> None:
        """Read what is new."""
        for _ in self.rows():
            pass

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Step and values of every complete history row that was not read yet."""
        record_type = message()
        for data in self._records():
            record = record_type.FromString(data)
            kind = record.WhichOneof("record_type")
            self.ended = self.ended or kind == "exit"
            self.described = self.described or kind == "run"
            if kind == "artifact":
                self.artifacts.add((record.artifact.name, record.artifact.digest))
            if kind != "history":
                continue
            row = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            step = record.history.step.num if record.history.HasField("step") else int(row.get("_step", -1))
            self.highest = max(self.highest, step)
            yield step, row

    def drop_incomplete(self) -> None:
        """Make a file that nobody writes any more acceptable to `wandb sync`, which accepts only complete files.

        At an incomplete record, or in a file without a run, `wandb sync` stops, skips the run's later files and exits
        with 0. An SDK process that is still alive writes on to the old file, which is not read any further.
        """
        if not self.described:
            self.path.unlink(missing_ok=True)
        elif self.incomplete:
            beside = self.path.with_suffix(".whole")
            shutil.copy(self.path, beside)
            os.truncate(beside, self._place)
            os.replace(beside, self.path)

    def _records(self) -> Iterator[bytes]:
        self.incomplete = False
        try:
            with open(self.path, "rb") as file:
                file.seek(self._place)
                data, start = file.read(), self._place
        except FileNotFoundError:
            return
        place, pieces, begun = 0, b"", False
        while True:
            left = BLOCK - (start + place) % BLOCK
            if left < PIECE_HEADER:
                place += left  # a block's last bytes are padding if no header fits
                continue
            if place + PIECE_HEADER > len(data):
                self.incomplete = begun or place < len(data)
                return
            length, kind = struct.unpack_from("<HB", data, place + 4)
            end = place + PIECE_HEADER + length
            if kind not in (FULL, FIRST, MIDDLE, LAST) or PIECE_HEADER + length > left:
                return
            if end > len(data):
                self.incomplete = True
                return
            piece = data[place + PIECE_HEADER : end]
            pieces = piece if kind in (FULL, FIRST) else pieces + piece
            place, begun = end, kind in (FIRST, MIDDLE)
            if not begun:
                self._place = start + place
                yield pieces
