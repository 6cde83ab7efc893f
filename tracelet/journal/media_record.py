"""The record of one image, figure, histogram, text, table, audio clip, video or 3D object.

Written by `tracelet.media.recorder` after the bytes that it names are complete on disk; read by everybody.
"""

from __future__ import annotations

from typing import Any

from tracelet.journal.record_base import Int64, Record

IMAGE, FIGURE, HISTOGRAM, TEXT = "image", "figure", "histogram", "text"
TABLE, AUDIO, VIDEO, OBJECT3D = "table", "audio", "video", "object3d"
MEDIA_KINDS = (IMAGE, FIGURE, HISTOGRAM, TEXT, TABLE, AUDIO, VIDEO, OBJECT3D)


class Media(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One media value of a run, at one step."""

    time: Int64
    name: str
    step: Int64
    kind: str
    """One of `MEDIA_KINDS`."""
    format: str
    """The format of the bytes: png, webp, jpeg, svg, plotly, json, plain, markdown, html, arrow, wav, ..."""
    digest: str = ""
    """The SHA-256 of the bytes, which are in `RUN/media/`; empty if they are `content`."""
    content: bytes = b""
    """The bytes themselves, if they are few: a histogram of 64 bins needs no file."""
    size: Int64 = 0
    """The number of bytes."""
    width: Int64 = 0
    height: Int64 = 0
    caption: str = ""
    index: Int64 = 0
    """The place among the values that were logged together under this name, from 0."""
    count: Int64 = 1
    """How many were logged together."""
    epoch: Int64 = -1
    stage: str = ""
    extra: dict[str, Any] = {}
    """What else is known, by kind: boxes, the range of an image, the columns of a table; see docs/guides/media.md."""
