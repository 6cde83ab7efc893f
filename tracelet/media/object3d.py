"""`tracelet.Object3D`: point clouds from arrays, as PLY, and files of points and meshes.

Copied on the program's thread, encoded on the recorder's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tracelet.errors import InvalidMedia
from tracelet.journal.media_record import OBJECT3D
from tracelet.media import arrays, ply_file
from tracelet.media.content_folder import ContentFolder
from tracelet.media.formats import OBJECT_FORMATS, format_of_file
from tracelet.media.media_value import Encoded, MediaValue, Ready, Snapshot, Stored, file_path


class Object3D(MediaValue):
    """Points as an array, n x 3 (x, y, z) or n x 6 (with red, green, blue, 0 to 255), or a PLY, GLB, STL, OBJ file."""

    kind: ClassVar[str] = OBJECT3D

    def __init__(self, data: Any, caption: str = "") -> None:
        super().__init__(caption)
        self._data = data
        self._points = arrays.is_array(data)
        if self._points and (len(data.shape) != 2 or data.shape[1] not in (3, 6)):
            shape = "x".join(map(str, arrays.shape_of(data)))
            raise InvalidMedia(f"an array of shape {shape} is no point cloud; expected n x 3 or n x 6")

    def snapshot(self, folder: ContentFolder) -> Snapshot:
        """A copy of the points, or of the file."""
        if self._points:
            return _Points(arrays.copied(self._data))
        path = file_path(self._data)
        if path is None:
            raise InvalidMedia(f"a {type(self._data).__name__} is no 3D object; expected an array of points, or a path")
        format = format_of_file(path)
        if format not in OBJECT_FORMATS:
            raise InvalidMedia(f"{str(path)[:200]!r} is no 3D object; expected {', '.join(sorted(OBJECT_FORMATS))}")
        return Ready(Encoded(OBJECT3D, format, Stored(*folder.put_file(path))))


@dataclass(frozen=True)
class _Points:
    """A copy of the points, on their device."""

    array: Any

    @property
    def nbytes(self) -> int:
        return arrays.size_in_memory(self.array)

    def encode(self) -> Encoded:
        points = arrays.to_numpy(self.array)
        content = ply_file.encode(points)
        return Encoded(OBJECT3D, ply_file.FORMAT, content, extra={"points": len(points)})
