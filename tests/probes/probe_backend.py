"""A real backend for tests of delivery: appends what it gets to a file, and misbehaves as a control file says.

Named by `backend={"probe": {"class": "probe_backend:ProbeBackend", "folder": ...}}`. The control file
FOLDER/NAME.control holds one word: `fail` (Unavailable), `crash` (an exception of no kind known), `hang`, `slow`
(500 ms a call), `reject` (the points named "bad"), `refuse` (Misconfigured), `leak` (an error that tells the key).
Missing or empty: all is well.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.errors import Misconfigured, Rejected, Unavailable

HANGING = 3600.0


@dataclass(frozen=True)
class ProbeOptions:
    """Where to write, and under which name."""

    folder: str = "."
    name: str = "probe"
    url: str = ""
    api_key: str = ""


class ProbeBackend:
    """Keeps what it gets in FOLDER/NAME.jsonl; leaves out points that it has when a batch comes again."""

    name: ClassVar[str] = "probe"
    options: ClassVar[type] = ProbeOptions
    extra: ClassVar[str] = ""

    def __init__(self, options: ProbeOptions) -> None:
        self.folder = Path(options.folder)
        self.title = options.name
        self.key = options.api_key

    def _obey(self) -> str:
        path = self.folder / f"{self.title}.control"
        word = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        if word == "fail":
            raise Unavailable("the probe is told to fail")
        if word == "crash":
            raise RuntimeError("the probe is told to crash")
        if word == "refuse":
            raise Misconfigured("the probe is told to refuse", "Empty its control file")
        if word == "leak":
            raise Unavailable(f"401 for key {self.key}")
        if word == "hang":
            time.sleep(HANGING)
        if word == "slow":
            time.sleep(0.5)
        return word

    def _put(self, **line: Any) -> None:
        with open(self.folder / f"{self.title}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "pid": os.getpid()}) + "\n")

    def open(self, run: RunDescription) -> None:
        """Note the opening."""
        self._obey()
        remote = run.memory.get("remote", f"remote-{run.id}")
        run.remember("remote", remote)
        run.announce(f"http://probe/{remote}")
        self._put(open=run.id, name=run.name, project=run.project, remote=remote, params=dict(run.params))

    def write(self, batch: Batch) -> None:
        """Keep the points that are not there yet."""
        bad: list[Any] = []
        if self._obey() == "reject":
            bad = [part for part in batch.points if part.name == "bad"]
        known = {tuple(point) for point in points(self.folder, self.title)} if batch.again else set()
        fresh = [
            [part.name, step, value]
            for part in batch.points if part not in bad and not part.system
            for step, value in zip(part.steps, part.values)
            if (part.name, step, value) not in known
        ]  # fmt: skip
        system = sorted({part.name for part in batch.points if part.system})
        self._put(
            batch=batch.id, again=batch.again, points=fresh, params=dict(batch.params), tags=dict(batch.tags),
            events=[event.name for event in batch.events], spans=[span.name for span in batch.spans], system=system,
        )  # fmt: skip
        if bad:
            raise Rejected(bad, "the probe dislikes points named bad")

    def close(self, outcome: Outcome | None) -> None:
        """Note the end."""
        self._obey()
        self._put(close=None if outcome is None else outcome.status, reason=outcome.reason if outcome else "")


def lines(folder: Path, name: str = "probe") -> list[dict[str, Any]]:
    """What the backend has got, line by line."""
    path = folder / f"{name}.jsonl"
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def points(folder: Path, name: str = "probe") -> list[list[Any]]:
    """All points, in the order in which they arrived: [name, step, value]."""
    return [point for line in lines(folder, name) for point in line.get("points", ())]


def outcomes(folder: Path, name: str = "probe") -> list[str]:
    """The statuses that the run was closed with."""
    return [line["close"] for line in lines(folder, name) if line.get("close")]
