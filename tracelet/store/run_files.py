"""The part of a run that is more than numbers: its artifacts and its media. Read side; writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracelet.journal.journal_view import JournalView
from tracelet.journal.records import Artifact

if TYPE_CHECKING:
    from tracelet.store.media_items import MediaItem


class RunFiles:
    """Properties and methods of `Run`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def views(self) -> list[JournalView]:
        """The readable journals."""
        raise NotImplementedError

    @property
    def artifacts(self) -> list[Artifact]:
        """Files that belong to the run, in the order in which they were logged."""
        return [record for view in self.views for record in view.records(Artifact)]

    def media_names(self) -> dict[str, str]:
        """The names of all media, sorted, with the kind of each: `image`, `histogram`, `table`, ..."""
        from tracelet.store import media_items  # few runs have media, and every command opens runs

        return media_items.names(self.views)

    def media(self, name: str | None = None, step: int | None = None, rank: int | None = None) -> list[MediaItem]:
        """The media of one name, or all: by step, in the order of logging. KeyError if there is no such name.

        Of a resumed run, media of steps that were trained again replace the earlier ones.
        """
        from tracelet.store import media_items

        found = media_items.items(self.path, self.views, name)
        if name is not None and not found:
            known: Any = ", ".join(list(self.media_names())[:10]) or "none"
            raise KeyError(f"run {self.path.name} has no media {name!r}; it has: {known}")
        return [item for item in found if step in (None, item.step) and rank in (None, item.rank)]
