"""The formats of files, recognized by their first bytes and never by their names. Used on any thread."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from tracelet.errors import InvalidMedia

HEAD = 4096
"""Bytes that are looked at."""
MAX_PIXELS = 89_478_485
"""Of one image: Pillow's own limit, above which it takes a file for a decompression bomb."""

IMAGE_FORMATS = frozenset({"png", "jpeg", "gif", "webp", "bmp", "svg"})
AUDIO_FORMATS = frozenset({"wav", "flac", "ogg", "mp3"})
VIDEO_FORMATS = frozenset({"mp4", "webm", "gif", "png"})
"""A PNG or GIF may be animated."""
OBJECT_FORMATS = frozenset({"ply", "glb", "stl", "obj"})

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF87a", "gif"), (b"GIF89a", "gif"), (b"BM", "bmp"),
    (b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3"), (b"\xff\xfb", "mp3"), (b"\xff\xf3", "mp3"),
    (b"\x1aE\xdf\xa3", "webm"), (b"ARROW1", "arrow"), (b"%PDF", "pdf"), (b"ply\n", "ply"), (b"ply\r", "ply"),
    (b"glTF", "glb"), (b"solid ", "stl"), (b"PK\x03\x04", "zip"),
)  # fmt: skip
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>|<!DOCTYPE[^>]*>|<!--.*?-->|\s)*<svg[\s>]", re.DOTALL)
_OBJ = re.compile(rb"(?:\s*(?:#[^\n]*|mtllib[^\n]*|[og] [^\n]*)?\n)*\s*v\s+-?\d")


def format_of(head: bytes) -> str:
    """The format of a file that begins with these bytes; empty if it is none of ours."""
    head = head[:HEAD]
    for beginning, name in _BEGINNINGS:
        if head.startswith(beginning):
            return name
    if head[:4] == b"RIFF":
        return {b"WAVE": "wav", b"WEBP": "webp"}.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return "mp4"
    if _SVG.match(head):
        return "svg"
    return "obj" if _OBJ.match(head) else ""


def format_of_file(path: Path) -> str:
    """The format of a file. Raises OSError."""
    with open(path, "rb") as file:
        return format_of(file.read(HEAD))


def check_size(width: int, height: int) -> None:
    """Raise `InvalidMedia` for an image with more pixels than anybody should decode."""
    if width * height > MAX_PIXELS:
        raise InvalidMedia(
            f"an image of {width:,} x {height:,} pixels is larger than the limit of {MAX_PIXELS:,}; scale it down"
        )


def png_size(head: bytes) -> tuple[int, int]:
    """Width and height of a PNG."""
    if len(head) < 24:
        raise InvalidMedia("the PNG is cut off")
    width, height = struct.unpack(">II", head[16:24])
    return int(width), int(height)
