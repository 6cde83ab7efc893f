"""Pushes changes to open pages: follows the runs that a page has open, and no others.

One task on the server's event loop; a worker thread checks the store, by the sizes of files only. A page that receives
a change fetches new data for its visible charts, so closed and hidden charts cost nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tracelet.errors import RunNotFound
from tracelet.journal.run_folder import SUFFIX
from tracelet.store.summaries import FILE_NAME as SUMMARIES
from tracelet.ui.run_cache import RunCache

EVERY = 0.5
"""Seconds between checks: with the flush interval of half a second, a point is on the screen within two."""
SHARE = 0.05
"""Maximum share of one core used for checks: with 10,000 runs a check takes long, and trainings run beside it."""
LIST = "*"
"""Means the list of all runs."""

Listener = Callable[[list[str]], None]
"""Called on the event loop with the ids of the changed runs."""
Signature = tuple[tuple[str, int], ...]


class LiveUpdates:
    """The pages that follow runs, and the task that checks those runs."""

    def __init__(self, run_cache: RunCache) -> None:
        self.run_cache = run_cache
        self._watched: dict[Listener, frozenset[str]] = {}
        self._seen: dict[str, Signature] = {}
        self._task: asyncio.Task[None] | None = None

    def watch(self, listener: Listener, runs: Iterable[str]) -> None:
        """From now on, call the listener about these runs; `LIST` is the list of all."""
        self._watched[listener] = frozenset(runs)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._follow())

    def leave(self, listener: Listener) -> None:
        """The page was closed."""
        self._watched.pop(listener, None)

    async def _follow(self) -> None:
        """Check until no page is left."""
        while self._watched:
            wanted = frozenset().union(*self._watched.values())
            began = time.monotonic()
            changed = await asyncio.to_thread(self._changed, wanted)
            took = time.monotonic() - began
            for listener, runs in list(self._watched.items()):
                news = sorted(changed & runs)
                if news:
                    listener(news)
            await asyncio.sleep(max(EVERY, took / SHARE))

    def _changed(self, wanted: frozenset[str]) -> set[str]:
        changed = set()
        for name in wanted:
            signature = self._list_signature() if name == LIST else self._run_signature(name)
            if self._seen.get(name, signature) != signature:
                changed.add(name)
            self._seen[name] = signature
        for gone in self._seen.keys() - wanted:
            del self._seen[gone]
        return changed

    def _run_signature(self, run_id: str) -> Signature:
        """The files; the status, because a killed process changes no file; the folder's time, because an annotation may
        keep its length.
        """
        try:
            row = self.run_cache.row(run_id)
        except RunNotFound:
            return ()
        return (*_signature(self.run_cache.folder / run_id), (row.info.status, row.changed))

    def _list_signature(self) -> Signature:
        """The visible state of the list's rows: status, annotations, and whether heartbeats continue."""
        rows = self.run_cache.rows()  # an annotation changes its folder, and so `changed`
        return tuple((f"{row.info.id} {row.info.status} {row.changed}", int(row.heartbeat) // 5) for row in rows)


def _signature(folder: Path) -> Signature:
    try:
        patterns = ("*" + SUFFIX, "delivery/*.json", "*.json", SUMMARIES)
        files = (path for pattern in patterns for path in folder.glob(pattern))
        return tuple(sorted((path.name, path.stat().st_size) for path in files))
    except OSError:
        return ()
