"""`tracelet.Figure`: figures of Matplotlib, drawn when they are logged, and of Plotly, as their JSON.

A Matplotlib figure is drawn on the program's thread, as its own `savefig` does: Matplotlib is not thread-safe, and
programs close a figure right after logging it. Never imports either library: a figure comes from a loaded one.
"""

from __future__ import annotations

import io
import sys
from typing import Any, ClassVar

from tracelet.errors import InvalidMedia
from tracelet.journal.media_record import FIGURE
from tracelet.media import image_file
from tracelet.media.content_folder import ContentFolder
from tracelet.media.media_value import Encoded, MediaValue, Ready, Snapshot

FORMATS = ("png", "svg")
FAST = {"compress_level": image_file.COMPRESS_LEVEL}


def is_matplotlib(data: Any) -> bool:
    """Whether it is a figure of Matplotlib."""
    module = sys.modules.get("matplotlib.figure")
    return module is not None and isinstance(data, module.FigureBase)


def is_plotly(data: Any) -> bool:
    """Whether it is a figure of Plotly."""
    module = sys.modules.get("plotly.basedatatypes")
    return module is not None and isinstance(data, module.BaseFigure)


class Figure(MediaValue):
    """A figure of Matplotlib (`format`: `png` or `svg`, `dpi` as in `savefig`) or of Plotly."""

    kind: ClassVar[str] = FIGURE

    def __init__(self, data: Any, caption: str = "", *, format: str = "png", dpi: float | None = None) -> None:
        super().__init__(caption)
        if hasattr(data, "savefig") and not is_matplotlib(data) and is_matplotlib(getattr(data, "figure", None)):
            data = data.figure  # seaborn's grids, and pyplot's own module has none
        if not is_matplotlib(data) and not is_plotly(data):
            raise InvalidMedia(f"a {type(data).__name__} is no figure; expected one of Matplotlib or Plotly")
        if format not in FORMATS:
            raise InvalidMedia(f"format is {format!r}; expected one of {', '.join(FORMATS)}")
        self._data = data
        self._format = format
        self._dpi = dpi

    def snapshot(self, folder: ContentFolder) -> Snapshot:
        """The drawn figure."""
        if is_plotly(self._data):
            return Ready(Encoded(FIGURE, "plotly", self._data.to_json().encode()))
        body = io.BytesIO()
        options: dict[str, Any] = {"format": self._format, "dpi": self._dpi or "figure"}
        if self._format == "png":
            options["pil_kwargs"] = FAST
        self._data.savefig(body, **options)
        content = body.getvalue()
        width, height = image_file.size_of(content) if self._format == "png" else (0, 0)
        return Ready(Encoded(FIGURE, self._format, content, width, height))
