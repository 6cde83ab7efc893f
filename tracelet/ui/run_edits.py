"""All changes that the dashboard makes: names, tags, pins, goals of metrics, deletion. Nothing else in it writes.

Called by the API's worker threads. With `read_only` every change is refused.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable

import msgspec

from tracelet.capture.sanitize import storable_text
from tracelet.errors import StoreError
from tracelet.journal.metric_definition import GOALS
from tracelet.journal.records import RUNNING
from tracelet.store.annotations import Annotations, read_annotations, write_annotations
from tracelet.store.metric_definitions import UNKNOWN
from tracelet.ui.run_cache import RunCache

LONGEST_NAME = 500
MOST_TAGS = 100
MOST_GOALS = 500
"""Goals kept per run: the file of annotations stays small."""


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
        self._check()
        name = None if name is None else storable_text(name)
        tags = {storable_text(key): storable_text(value) for key, value in (tags or {}).items()}
        if len(name or "") > LONGEST_NAME or len(tags or {}) > MOST_TAGS:
            raise StoreError(f"a name may have at most {LONGEST_NAME} characters, a run at most {MOST_TAGS} tags")
        if any(len(text) > LONGEST_NAME for pair in (tags or {}).items() for text in pair) or "" in (tags or {}):
            raise StoreError(f"a tag needs a name; name and value may have at most {LONGEST_NAME} characters")
        self._write(run_id, lambda known: msgspec.structs.replace(
            known, name=known.name if name is None else name.strip(), tags={**known.tags, **(tags or {})}
        ))  # fmt: skip

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

    def pin(self, run_id: str, pinned: bool) -> None:
        """Pin a run to the top of lists, or unpin it."""
        self._check()
        self._write(run_id, lambda known: msgspec.structs.replace(known, pinned=pinned))

    def set_goals(self, run_id: str, goals: dict[str, str]) -> None:
        """Set the goals of metrics: `min`, `max` or `unknown`; an empty one restores what the run itself says."""
        self._check()
        if any(goal not in ("", *GOALS, UNKNOWN) for goal in goals.values()):
            raise StoreError(f"a goal is {', '.join(GOALS)} or {UNKNOWN}; nothing was changed")
        goals = {storable_text(name): goal for name, goal in goals.items()}
        if any(len(name) > LONGEST_NAME for name in goals) or len(goals) > MOST_TAGS:
            raise StoreError(f"at most {MOST_TAGS} goals at once, of names of at most {LONGEST_NAME} characters")

        def change(known: Annotations) -> Annotations:
            merged = {name: goal for name, goal in {**known.goals, **goals}.items() if goal}
            return msgspec.structs.replace(known, goals=dict(list(merged.items())[-MOST_GOALS:]))

        self._write(run_id, change)

    def _write(self, run_id: str, change: Callable[[Annotations], Annotations]) -> None:
        path = self.run_cache.path(run_id)
        with self._lock:
            try:
                write_annotations(path, change(read_annotations(path)))
            except OSError as error:
                raise StoreError(f"run {run_id} could not be changed: {error.strerror}") from error
        self.run_cache.forget(run_id)
