"""Emulates a terminal: the lines that a stream shows, progress bars in their last state. Pure: no file, no clock.

Used by `console` on the writer's thread. It obeys carriage returns, backspaces, and the escape sequences by
which progress bars move up and erase; colours and everything else are dropped. Lines are numbered over the
whole stream, so that a line keeps its number when it changes.
"""

from __future__ import annotations

import re

MAX_LINE = 4000
"""Characters of a line; the rest is counted. A base64 image printed by accident is no log."""
MAX_ROWS_ABOVE = 64
"""Lines above the cursor that may still change: nested progress bars are some ten."""
MAX_SEQUENCE = 100
"""Characters of an escape sequence that may come in two writes; what is longer is none."""

_TOKEN = re.compile(
    r"\x1b\[([0-9;?]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[^\[\]]|([\n\r\x08])|([^\x1b\n\r\x08]+)|\x1b"
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*|\][^\x07\x1b]*\x1b?)?\Z")
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\t"}


class Terminal:
    """One stream. `feed` text, then take what has changed."""

    def __init__(self) -> None:
        self.row = 0
        """The number of the line that the cursor is in."""
        self._column = 0
        self._rows: dict[int, str] = {}
        self._cut: dict[int, int] = {}
        self._began: dict[int, int] = {}
        self._changed: dict[int, None] = {}
        self._rest = ""

    def feed(self, text: str, time: int) -> None:
        """Take what was written at this time (microseconds)."""
        text = self._rest + text
        unfinished = _UNFINISHED.search(text)
        self._rest = unfinished[0][:MAX_SEQUENCE] if unfinished else ""
        for token in _TOKEN.finditer(text, 0, len(text) - len(unfinished[0]) if unfinished else len(text)):
            if token[4] is not None:
                self._print(token[4].translate(_CONTROLS), time)
            elif token[3] is not None:
                self._control(token[3], time)
            elif token[2] is not None:
                self._escape_sequence(token[2], token[1])

    def skip(self, lines: int) -> None:
        """Skip lines that were printed but not kept."""
        self.row += lines
        self._column = 0

    def changed(self) -> list[int]:
        """The lines that were written or changed and not taken since, upwards."""
        return sorted(self._changed)

    def take(self, row: int) -> tuple[int, str]:
        """When the line began, and its current text."""
        self._changed.pop(row, None)
        text, cut = self._rows.get(row, "").rstrip(), self._cut.get(row, 0)
        return self._began.get(row, 0), f"{text} ... ({cut} more characters)" if cut else text

    def discard_final(self) -> None:
        """Let go of the lines that cannot change any more and were taken."""
        for row in [row for row in self._rows if row < self.row - MAX_ROWS_ABOVE and row not in self._changed]:
            for kept in (self._rows, self._cut, self._began):
                kept.pop(row, None)

    def _print(self, text: str, time: int) -> None:
        if not text:
            return
        line, column = self._rows.get(self.row, ""), self._column
        self._column += len(text)
        room = max(0, MAX_LINE - column)
        if len(text) > room:
            self._cut[self.row] = max(self._cut.get(self.row, 0), self._column - MAX_LINE)
            text = text[:room]
        if text:
            self._rows[self.row] = line[:column].ljust(column) + text + line[column + len(text) :]
        self._touch(time)

    def _touch(self, time: int) -> None:
        self._began.setdefault(self.row, time)
        self._changed[self.row] = None

    def _control(self, control: str, time: int) -> None:
        if control == "\n":
            if self.row not in self._began:
                self._rows[self.row] = ""
                self._touch(time)
            self.row += 1
        self._column = max(0, self._column - 1) if control == "\x08" else 0

    def _escape_sequence(self, code: str, parameters: str) -> None:
        count = int(parameters) if parameters.isdecimal() and len(parameters) < 5 else 1
        if code in "AF":  # up
            self.row = max(0, self.row - min(count, MAX_ROWS_ABOVE))
        elif code in "BE":  # down
            self.row += min(count, MAX_ROWS_ABOVE)
        elif code == "C":
            self._column = min(self._column + count, MAX_LINE)
        elif code == "D":
            self._column = max(0, self._column - count)
        elif code == "G":
            self._column = min(max(0, count - 1), MAX_LINE)
        elif code == "K":
            self._erase(parameters)
        if code in "EF":
            self._column = 0

    def _erase(self, parameters: str) -> None:
        line = self._rows.get(self.row)
        if not line:
            return
        kept = {"": line[: self._column], "0": line[: self._column], "1": " " * self._column + line[self._column :]}
        self._rows[self.row] = kept.get(parameters, "")
        self._cut.pop(self.row, None)
        self._changed[self.row] = None
