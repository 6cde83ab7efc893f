"""`tracelet.Text`: plain text, Markdown or HTML. Known secrets are masked by the recorder, as in all of a run."""

from __future__ import annotations

from typing import Any, ClassVar

from tracelet.capture.sanitize import storable_text
from tracelet.errors import InvalidMedia
from tracelet.journal.media_record import TEXT
from tracelet.media.content_folder import ContentFolder
from tracelet.media.media_value import Encoded, MediaValue, Ready, Snapshot

PLAIN, MARKDOWN, HTML = "plain", "markdown", "html"
FORMATS = (PLAIN, MARKDOWN, HTML)


class Text(MediaValue):
    """A string; `format` is `plain`, `markdown` or `html`."""

    kind: ClassVar[str] = TEXT

    def __init__(self, data: Any, caption: str = "", *, format: str = PLAIN) -> None:
        super().__init__(caption)
        if not isinstance(data, str):
            raise InvalidMedia(f"a {type(data).__name__} is no string; e.g. Text('some words')")
        if format not in FORMATS:
            raise InvalidMedia(f"format is {format!r}; expected one of {', '.join(FORMATS)}")
        self._data = data
        self._format = format

    def snapshot(self, folder: ContentFolder) -> Snapshot:
        """The string in UTF-8."""
        return Ready(Encoded(TEXT, self._format, storable_text(self._data).encode()))
