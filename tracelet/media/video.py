"""`tracelet.Video`: files that the program's encoder made, and frames, which become a lossless animated PNG.

Files are copied and frames are cloned on the program's thread; frames are encoded on the recorder's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tracelet.errors import InvalidMedia
from tracelet.journal.media_record import VIDEO
from tracelet.media import arrays, image_file
from tracelet.media.content_folder import ContentFolder
from tracelet.media.formats import VIDEO_FORMATS, format_of, format_of_file
from tracelet.media.image_pixels import Range, checked_range, layout_of, to_pixels
from tracelet.media.media_value import Encoded, MediaValue, Ready, Snapshot, Stored, file_path

MAX_MILLISECONDS = 65_535
"""Of one frame: the format's limit."""


class Video(MediaValue):
    """Frames of the shape THW, THWC or TCHW with `fps`, or a path or the bytes of an MP4, WebM, GIF or animated PNG.

    `range`: as in `tracelet.Image`. `layout`: one of `HW`, `HWC`, `CHW`, if the shape does not tell.
    """

    kind: ClassVar[str] = VIDEO

    def __init__(self, data: Any, caption: str = "", *, fps: float = 10.0, range: Any = None, layout: str = "") -> None:
        super().__init__(caption)
        self._data = data
        self._range = checked_range(range)
        self._layout = ""
        if not 0 < fps <= 1000:
            raise InvalidMedia(f"fps is {fps!r}; expected frames per second, above 0 and at most 1000")
        self._milliseconds = min(MAX_MILLISECONDS, max(1, round(1000 / fps)))
        if arrays.is_array(data):
            shape = arrays.shape_of(data)
            if len(shape) not in (3, 4) or not shape[0]:
                raise InvalidMedia(f"an array of shape {'x'.join(map(str, shape))} is no video; expected THWC or TCHW")
            self._layout = layout_of(shape[1:], layout, channels_first=arrays.is_tensor(data))

    def snapshot(self, folder: ContentFolder) -> Snapshot:
        """A copy of the frames, or of the file."""
        if self._layout:
            return _Frames(arrays.copied(self._data), self._layout, self._range, self._milliseconds)
        if isinstance(self._data, (bytes, bytearray, memoryview)):
            content = bytes(self._data)
            return Ready(Encoded(VIDEO, _known(format_of(content)), content))
        path = file_path(self._data)
        if path is None:
            raise InvalidMedia(f"a {type(self._data).__name__} is no video; expected frames, a path, or bytes")
        return Ready(Encoded(VIDEO, _known(format_of_file(path)), Stored(*folder.put_file(path))))


@dataclass(frozen=True)
class _Frames:
    """A copy of the frames, on their device."""

    array: Any
    layout: str
    range: Range
    milliseconds: int

    @property
    def nbytes(self) -> int:
        return arrays.size_in_memory(self.array)

    def encode(self) -> Encoded:
        import numpy

        found = [to_pixels(frame, self.layout, self.range) for frame in arrays.to_numpy(self.array)]
        frames = numpy.stack([pixels.array for pixels in found])
        height, width = frames.shape[1:3]
        extra = {**found[0].extra, "frames": len(frames), "milliseconds": self.milliseconds}
        remark = next((pixels.remark for pixels in found if pixels.remark), "")
        content = image_file.encode_frames(frames, self.milliseconds)
        return Encoded(VIDEO, "png", content, width, height, extra, remark=remark)


def _known(format: str) -> str:
    if format not in VIDEO_FORMATS:
        raise InvalidMedia(f"this file is no video; expected one of {', '.join(sorted(VIDEO_FORMATS))}")
    return format
