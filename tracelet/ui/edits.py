"""All that the dashboard ever changes: remarks on runs, pins, and runs deleted. Nothing else in it writes.

Called by the API's worker threads. With `read_only` everything is refused.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from pathlib import Path

import msgspec
import platformdirs

from tracelet.errors import StoreError
from tracelet.records import RUNNING
from tracelet.ui import remarks
from tracelet.ui.library import Library

LONGEST_NAME = 500
MOST_TAGS = 100


class Edits:
    """Changes to the runs of one library."""

    def __init__(self, library: Library, read_only: bool = False) -> None:
        self.library = library
        self.read_only = read_only
        self._lock = threading.Lock()
        store = hashlib.blake2b(str(library.store.root).encode(), digest_size=8).hexdigest()
        self._pins_file = Path(platformdirs.user_config_dir("tracelet")) / f"pins-{store}.json"

    def _check(self) -> None:
        if self.read_only:
            raise StoreError(
                "this dashboard only reads. Nothing was changed; start it without --read-only to change runs"
            )

    def remark(self, run_id: str, name: str | None, tags: dict[str, str] | None) -> None:
        """Give a run another name (empty: its own again), set tags (an empty text takes one away)."""
        self._check()
        path = self.library.path(run_id)
        if len(name or "") > LONGEST_NAME or len(tags or {}) > MOST_TAGS:
            raise StoreError(f"a name has at most {LONGEST_NAME} characters, a run at most {MOST_TAGS} tags")
        if any(len(text) > LONGEST_NAME for pair in (tags or {}).items() for text in pair) or "" in (tags or {}):
            raise StoreError(f"a tag has a name, and at most {LONGEST_NAME} characters")
        with self._lock:
            known = remarks.read(path)
            changed = remarks.Remark(known.name if name is None else name.strip(), {**known.tags, **(tags or {})})
            try:
                remarks.write(path, changed)
            except OSError as error:
                raise StoreError(f"the run {run_id} could not be changed: {error.strerror}") from error
        self.library.forget(run_id)

    def delete(self, run_id: str, force: bool = False) -> None:
        """Delete a run with all its files; one that is going on only by force, a link never."""
        self._check()
        path = self.library.path(run_id)
        with self.library.open(run_id) as run:
            if run.info.status == RUNNING and not force:
                raise StoreError(f"the run {run_id} is still going on; nothing was deleted")
        if path.is_symlink() or path.resolve().parent != self.library.folder.resolve():
            raise StoreError(f"{path.name} is a link to somewhere else; nothing was deleted")
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise StoreError(f"the run {run_id} could not be deleted completely: {error.strerror}") from error
        finally:
            self.library.forget(run_id)

    def pins(self) -> list[str]:
        """The runs that this user keeps at the top."""
        try:
            return msgspec.json.decode(self._pins_file.read_bytes(), type=list[str])
        except (OSError, msgspec.MsgspecError):
            return []

    def pin(self, run_id: str, pinned: bool) -> None:
        """Keep a run at the top, or no longer. Kept in the user's own configuration, not in the store."""
        self._check()
        self.library.path(run_id)
        with self._lock:
            kept = [other for other in self.pins() if other != run_id] + ([run_id] if pinned else [])
            beside = self._pins_file.with_suffix(".new")
            try:
                self._pins_file.parent.mkdir(parents=True, exist_ok=True)
                beside.write_bytes(msgspec.json.encode(kept))
                os.replace(beside, self._pins_file)
            except OSError as error:
                raise StoreError(f"the pin could not be kept in {self._pins_file}: {error.strerror}") from error
