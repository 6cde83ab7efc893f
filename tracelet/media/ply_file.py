"""Point clouds as binary PLY files, and back. Used on the recorder's thread, and by readers on any."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tracelet.errors import InvalidMedia

if TYPE_CHECKING:
    import numpy

FORMAT = "ply"
COORDINATES = ("x", "y", "z")
COLORS = ("red", "green", "blue")
_HEADER = re.compile(
    rb"ply\nformat binary_little_endian 1\.0\nelement vertex (\d+)\n"
    rb"property float x\nproperty float y\nproperty float z\n"
    rb"(property uchar red\nproperty uchar green\nproperty uchar blue\n)?end_header\n"
)


def encode(points: numpy.ndarray[Any, Any]) -> bytes:
    """Points (n x 3, or n x 6 with colors) as a file: float32 coordinates, uint8 colors."""
    import numpy

    columns = _columns(colored=points.shape[1] > len(COORDINATES))
    body = numpy.zeros(len(points), dtype=columns)
    for place, (name, kind) in enumerate(columns):
        values = points[:, place]
        body[name] = values.clip(0, 255).round() if kind == "u1" else values
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    header += [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in columns]
    return "\n".join([*header, "end_header\n"]).encode() + body.tobytes()


def decode(content: bytes) -> numpy.ndarray[Any, Any]:
    """The points of a file that `encode` made. Raises `InvalidMedia`."""
    import numpy

    header = _HEADER.match(content)
    if header is None:
        raise InvalidMedia("this PLY file was not made from an array of points; read its bytes with another library")
    columns = numpy.dtype(_columns(colored=header[2] is not None))
    count = int(header[1])
    if len(content) - header.end() != count * columns.itemsize:
        raise InvalidMedia("the point cloud is damaged: its length does not match its header")
    body = numpy.frombuffer(content, columns, offset=header.end())
    return numpy.stack([body[name].astype(numpy.float32) for name in columns.names or ()], axis=1)


def _columns(colored: bool) -> list[tuple[str, str]]:
    return [(name, "<f4") for name in COORDINATES] + [(name, "u1") for name in COLORS if colored]
