"""Keeps what the SDK of Weights & Biases has received and its own file does not have yet.

Used by the `wandb` backend on the courier's thread, with versions before 0.30, which keep the last rows in memory until
the run ends. One JSON line per row, in a file beside the SDK's; deleted when the run is over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class WriteAheadLog:
    """Rows by their numbers, and configuration. On disk when `append` returns; never delays the SDK."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[int, Row] = {}
        """The rows that an earlier courier has kept."""
        self.config: dict[str, Any] = {}
        self._highest = -1
        self._read()

    def _read(self) -> None:
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                number, values = json.loads(line)
                known = {int(number): {**values}}
            except (ValueError, TypeError):
                continue  # torn by a crash or a full disk, so its batch is sent again
            self.config.update(known.pop(-1, {}))
            self.rows.update(known)
        self._highest = max(self.rows, default=-1)

    def append(self, rows: Sequence[tuple[int, Row]], config: Mapping[str, Any]) -> None:
        """Store what the SDK is about to receive."""
        entries: list[tuple[int, Mapping[str, Any]]] = [*rows]
        if config:
            entries.append((-1, config))
        if entries:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("\n")  # the line before may be torn, and would corrupt the next row
                file.writelines(json.dumps(entry, default=str) + "\n" for entry in entries)
            self._highest = max([self._highest, *(number for number, _ in rows)])

    def discard_through(self, highest: int) -> None:
        """The SDK's file has rows up to this one: delete them if that is all of them."""
        if 0 <= self._highest <= highest:
            self.clear()

    def clear(self) -> None:
        """Delete everything."""
        self.path.unlink(missing_ok=True)
        self._highest = -1
