"""All changes that the dashboard makes: names, tags, pins, goals of metrics, deletion. Nothing else in it writes.

Called by the API's worker threads. With `read_only` every change is refused.
"""

from __future__ import annotations

import shutil
import threading

from tracelet.errors import StoreError
from tracelet.journal.records import RUNNING
from tracelet.store.annotation_changes import Change, apply, archived, pinned, renamed, tagged, with_goals
from tracelet.ui.run_cache import RunCache


class RunEdits:
    """Changes to the runs of one store."""

    def __init__(self, run_cache: RunCache, read_only: bool = False) -> None:
        self.run_cache = run_cache
        self.read_only = read_only
        self._lock = threading.Lock()

    def _check(self) -> None:
        if self.read_only:
            raise StoreError(
                "the dashboard is read-only. Nothing was changed; to change runs, start it without --read-only"
            )

    def annotate(self, run_id: str, name: str | None, tags: dict[str, str] | None) -> None:
        """Rename a run (empty: restore its original name), set tags (an empty value removes the tag)."""
        changes = [] if name is None else [renamed(name)]
        self._write(run_id, *changes, *([tagged(tags)] if tags else []))

    def delete(self, run_id: str, force: bool = False) -> None:
        """Delete a run and all its files; a running one only with force, a link never."""
        self._check()
        path = self.run_cache.path(run_id)
        with self.run_cache.open(run_id) as run:
            if run.info.status == RUNNING and not force:
                raise StoreError(f"run {run_id} is still running; nothing was deleted")
        if path.is_symlink() or path.resolve().parent != self.run_cache.folder.resolve():
            raise StoreError(f"{path.name} is a symbolic link; nothing was deleted")
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise StoreError(f"run {run_id} was deleted only in part: {error.strerror}") from error
        finally:
            self.run_cache.forget(run_id)

    def pin(self, run_id: str, pin: bool) -> None:
        """Pin a run to the top of lists, or unpin it."""
        self._write(run_id, pinned(pin))

    def archive(self, run_id: str, archive: bool) -> None:
        """Leave a run out of lists, or list it again."""
        self._write(run_id, archived(archive))

    def set_goals(self, run_id: str, goals: dict[str, str]) -> None:
        """Set the goals of metrics: `min`, `max` or `unknown`; an empty one restores what the run itself says."""
        self._write(run_id, with_goals(goals))

    def _write(self, run_id: str, *changes: Change) -> None:
        self._check()
        path = self.run_cache.path(run_id)
        with self._lock:
            apply(path, *changes)
        self.run_cache.forget(run_id)
