"""Which values are media, by their type and without importing anything: what `tracelet.log()` is given bare.

Used on the program's thread, for values that are no numbers. An array becomes a histogram of its values, whatever its
shape: only the program knows whether it is a picture.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tracelet.errors import InvalidMedia
from tracelet.media import arrays, image_file
from tracelet.media.figure import Figure, is_matplotlib, is_plotly
from tracelet.media.histogram import Histogram
from tracelet.media.image import Image
from tracelet.media.media_value import MediaValue
from tracelet.media.table import Table, frame_library

MAX_LIST = 10_000
"""Values of one list."""


def recognized(value: Any) -> list[MediaValue] | None:
    """The media of a value that was logged; None if it is no media. Raises `InvalidMedia` if it has no content."""
    single = _single(value)
    if single is not None:
        return single.parts()
    if not isinstance(value, (list, tuple)) or not value or arrays.is_array(value[0]):
        return None
    if len(value) > MAX_LIST:
        return None
    found: list[MediaValue] = []
    for element in value:
        media = _single(element)
        if media is None:
            return None
        found += media.parts()
    return found


def _single(value: Any) -> MediaValue | None:
    if isinstance(value, MediaValue):
        return value
    if image_file.is_picture(value, sys.modules):
        return Image(value)
    if is_matplotlib(value) or is_plotly(value):
        return Figure(value)
    if frame_library(value):
        return Table(value)
    if arrays.is_array(value) and arrays.is_numeric(value):
        if 0 in arrays.shape_of(value):
            raise InvalidMedia("an empty array has no values")
        return Histogram(value)
    return None


def media_values(make: Any, data: Any, captions: Any) -> list[MediaValue]:
    """One value, or those of a list, each with its caption; `make` makes one of data and caption."""
    if not isinstance(data, (list, tuple)):
        one: MediaValue = data if isinstance(data, MediaValue) else make(data, captions or "")
        return one.parts()
    named: Sequence[Any] = [captions or ""] * len(data) if not isinstance(captions, (list, tuple)) else captions
    if len(named) != len(data):
        raise InvalidMedia(f"{len(data)} values have {len(named)} captions")
    made = [value if isinstance(value, MediaValue) else make(value, name) for value, name in zip(data, named)]
    return [part for value in made for part in value.parts()]
