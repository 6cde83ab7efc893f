"""`tracelet.Image`: pictures from arrays, tensors, Pillow images, files and bytes; one, a batch, or a grid.

Made and copied on the program's thread, encoded on the recorder's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tracelet.errors import InvalidMedia
from tracelet.journal.media_record import IMAGE
from tracelet.media import arrays, image_file
from tracelet.media.content_folder import ContentFolder
from tracelet.media.formats import IMAGE_FORMATS, format_of, format_of_file
from tracelet.media.image_layers import Layers, checked_layers
from tracelet.media.image_pixels import Pixels, Range, checked_range, layout_of, to_pixels
from tracelet.media.media_value import Encoded, MediaValue, Ready, Snapshot, Stored, file_path

GAP = 2
"""Pixels between the images of a grid."""
NO_LAYERS = Layers({}, {}, {})


class Image(MediaValue):
    """An image, or a batch of images.

    `data`: an array or tensor of the shape HW, HWC, CHW, NHWC or NCHW, a Pillow image, a path, or the bytes of a file.
    `range`: which values are black and white: `unit` for [0, 1], `signed` for [-1, 1], `byte` for [0, 255], `auto` for
    the array's own minimum and maximum, or (low, high). uint8 needs none. `layout`: which axis is which, if the shape
    does not tell. `columns`: make one grid of a batch. `boxes`, `masks`, `labels`: layers over the image. `format`:
    `png`, or `webp`, both lossless.
    """

    kind: ClassVar[str] = IMAGE

    def __init__(
        self, data: Any, caption: str = "", *, range: Any = None, layout: str = "", columns: int | None = None,
        boxes: Any = None, masks: Any = None, labels: Any = None, format: str = "png",
    ) -> None:  # fmt: skip
        super().__init__(caption)
        if format not in image_file.ENCODERS:
            raise InvalidMedia(f"format is {format!r}; expected one of {', '.join(image_file.ENCODERS)}")
        if isinstance(data, (list, tuple)) and data and not arrays.is_array(data[0]):
            import numpy

            data = numpy.asarray(data)
        self._data = data
        self._range = checked_range(range)
        self._format = format
        self._columns = columns
        self._layers = NO_LAYERS if boxes is masks is None else checked_layers(boxes, masks, labels)
        self._layout = ""
        if arrays.is_array(data):
            self._layout = layout_of(arrays.shape_of(data), layout, channels_first=arrays.is_tensor(data))

    def parts(self) -> list[MediaValue]:
        """The image, or the images of a batch; a grid is one."""
        if self._columns is not None or not self._layout.startswith("N"):
            return [self]
        return [self._part(row) for row in self._data]

    def _part(self, row: Any) -> Image:
        part = Image.__new__(Image)
        part.__dict__.update(self.__dict__, _data=row, _layout=self._layout[1:])
        return part

    def snapshot(self, folder: ContentFolder) -> Snapshot:
        """A copy of the pixels, or the bytes of the file."""
        data = self._data
        if self._layout:
            return _Array(arrays.copied(data), self._layout, self._range, self._format, self._columns, self._layers)
        if isinstance(data, (bytes, bytearray, memoryview)):
            return Ready(_file(bytes(data), format_of(bytes(data)), self._layers))
        if image_file.is_picture(data, sys.modules):
            return _Picture(data.copy(), self._format, self._layers)
        path = file_path(data)
        if path is None:
            raise InvalidMedia(
                f"a {type(data).__name__} is no image; expected an array, a tensor, a Pillow image, a path, or bytes"
            )
        format = format_of_file(path)
        if format not in IMAGE_FORMATS:
            raise InvalidMedia(f"{str(path)[:200]!r} is no image: expected one of {', '.join(sorted(IMAGE_FORMATS))}")
        digest, size = folder.put_file(path)
        head = path.read_bytes() if format != "svg" else b""
        return Ready(_described(Encoded(IMAGE, format, Stored(digest, size)), head, self._layers))


def _file(content: bytes, format: str, layers: Layers) -> Encoded:
    if format not in IMAGE_FORMATS:
        raise InvalidMedia(f"these {len(content):,} bytes are no image: expected {', '.join(sorted(IMAGE_FORMATS))}")
    return _described(Encoded(IMAGE, format, content), content if format != "svg" else b"", layers)


def _described(encoded: Encoded, content: bytes, layers: Layers) -> Encoded:
    """With the image's size and its layers."""
    width, height = image_file.size_of(content) if content else (0, 0)
    extra, attached = layers.encode()
    return replace(encoded, width=width, height=height, extra=extra, attached=attached)


@dataclass(frozen=True)
class _Picture:
    """A copy of a Pillow image."""

    image: Any
    format: str
    layers: Layers

    @property
    def nbytes(self) -> int:
        width, height = self.image.size
        return int(width * height * len(self.image.getbands())) + self.layers.nbytes

    def encode(self) -> Encoded:
        content = image_file.save(self.image, self.format)
        return _described(Encoded(IMAGE, self.format, content), content, self.layers)


@dataclass(frozen=True)
class _Array:
    """A copy of an array of pixels, on its device."""

    array: Any
    layout: str
    range: Range
    format: str
    columns: int | None
    layers: Layers

    @property
    def nbytes(self) -> int:
        return arrays.size_in_memory(self.array) + self.layers.nbytes

    def encode(self) -> Encoded:
        array = arrays.to_numpy(self.array)
        if self.layout.startswith("N"):
            tiles = [to_pixels(tile, self.layout[1:], self.range) for tile in array]
            pixels = _grid(tiles, self.columns or len(tiles))
        else:
            pixels = to_pixels(array, self.layout, self.range)
        content = image_file.encode(pixels.array, self.format)
        layers, attached = self.layers.encode()
        height, width = pixels.array.shape[:2]
        return Encoded(IMAGE, self.format, content, width, height, {**pixels.extra, **layers}, attached, pixels.remark)


def _grid(tiles: Sequence[Pixels], columns: int) -> Pixels:
    """Images of one size as one image."""
    import numpy

    columns = max(1, min(columns, len(tiles)))
    first = tiles[0].array
    height, width = first.shape[:2]
    rows = -(-len(tiles) // columns)
    whole = numpy.zeros(
        (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, *first.shape[2:]), dtype=numpy.uint8
    )
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        whole[top : top + height, left : left + width] = tile.array
    remark = next((tile.remark for tile in tiles if tile.remark), "")
    return Pixels(whole, {"grid": [rows, columns, len(tiles)]}, remark)
