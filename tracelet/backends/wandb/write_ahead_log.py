"""What the SDK of Weights & Biases was given and its own file does not hold yet: kept by us until it does.

Used by the `wandb` backend on the courier's thread, with versions before 0.30, which keep the last rows in memory until
the run ends. One line of JSON for each row, in a file beside the SDK's; gone when the run is over.
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
        """What an earlier courier had kept."""
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
                continue  # torn by a crash or a full disk, so its batch comes again
            self.config.update(known.pop(-1, {}))
            self.rows.update(known)
        self._highest = max(self.rows, default=-1)

    def append(self, rows: Sequence[tuple[int, Row]], config: Mapping[str, Any]) -> None:
        """Write down what the SDK is about to be given."""
        entries: list[tuple[int, Mapping[str, Any]]] = [*rows]
        if config:
            entries.append((-1, config))
        if entries:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("\n")  # what stands before it may be torn, and would take the next row along
                file.writelines(json.dumps(entry, default=str) + "\n" for entry in entries)
            self._highest = max([self._highest, *(number for number, _ in rows)])

    def discard_through(self, highest: int) -> None:
        """The SDK's file holds rows up to this one: forget them, if they are all."""
        if 0 <= self._highest <= highest:
            self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)
        self._highest = -1
