"""Finds the lines of a run that a file already has, whoever wrote them, so that none is written twice even if state is
lost.

Used by the `jsonl` backend on the courier's thread, under the file's lock. Reads every byte of the file once, and the
lines of a batch again only if the file has lines of the same frames. Never writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from tracelet.backends.jsonl.lines import frame_of

BLOCK = 1024 * 1024

Range = tuple[int, int]


class WrittenLines:
    """The lines of one run in an open file."""

    def __init__(self, descriptor: int, run: str) -> None:
        self._descriptor = descriptor
        self._mark = f'{{"id":{json.dumps(f"{run}/", ensure_ascii=False)[:-1]}'.encode("utf-8", "backslashreplace")
        self._prefix = len(run) + 1
        self._frames: dict[tuple[str, int], Range] = {}
        """The range of the file with the lines of each frame: from, to."""
        self._others: set[str] = set()
        """Ids without a frame."""
        self._end = 0
        """How far the file has been read."""

    def look(self) -> None:
        """Read what was written since the last call, by us or by others."""
        size = os.fstat(self._descriptor).st_size
        if size < self._end:  # the file was truncated
            self._frames, self._others, self._end = {}, set(), 0
        if size > self._end:
            self._read(self._end, size)
            self._end = size

    def _read(self, start: int, stop: int) -> None:
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(start)
            place = start
            for line in file:
                if line.startswith(self._mark):
                    self._note(_id(line)[self._prefix :], place, place + len(line))
                place += len(line)
                if place >= stop:
                    return

    def _note(self, line_id: str, start: int, stop: int) -> None:
        frame = frame_of(line_id)
        if frame is None:
            self._others.add(line_id)
            return
        known = self._frames.get(frame)
        self._frames[frame] = (min(start, known[0]), max(stop, known[1])) if known else (start, stop)

    def present(self, ids: Iterable[str]) -> set[str]:
        """The subset of these ids that the file has."""
        wanted = set(ids)
        found = {one for one in wanted if one[self._prefix :] in self._others}
        ranges = [self._frames[frame] for frame in self._named(wanted) if frame in self._frames]
        if ranges:
            start, stop = min(first for first, _ in ranges), max(last for _, last in ranges)
            with open(self._descriptor, "rb", closefd=False) as file:
                file.seek(start)
                while file.tell() < stop and (line := file.readline()):
                    if line.startswith(self._mark) and (one := _id(line)) in wanted:
                        found.add(one)
        return found

    def _named(self, ids: Iterable[str]) -> set[tuple[str, int]]:
        frames = (frame_of(one[self._prefix :]) for one in ids)
        return {frame for frame in frames if frame is not None}


def _id(line: bytes) -> str:
    """The id at the start of one of our lines."""
    try:
        text, _ = json.JSONDecoder().raw_decode(line[:4096].decode("utf-8", "ignore"), len('{"id":'))
        return str(text)
    except ValueError:  # an id of kilobytes, or not one of our lines
        try:
            return str(json.loads(line)["id"])
        except (ValueError, KeyError, TypeError):
            return ""
