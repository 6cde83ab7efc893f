"""Images as files: PNG or lossless WebP by Pillow, and back. Decoding is bounded, whatever a file claims.

Used on the recorder's thread, and by readers on any. The one file that imports Pillow.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from tracelet.errors import InvalidMedia
from tracelet.media.formats import check_size, format_of, png_size

if TYPE_CHECKING:
    import numpy

COMPRESS_LEVEL = 1
"""zlib's: a third of the time of the default, for files that are a few percent larger."""
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
ENCODERS = ("png", "webp")
MAX_FRAMES = 10_000
"""Of an animation that is decoded."""


class Frames(NamedTuple):
    """A decoded animation: frames x height x width (x channels), and the frames per second."""

    array: numpy.ndarray[Any, Any]
    fps: float


def encode(pixels: numpy.ndarray[Any, Any], format: str = "png") -> bytes:
    """uint8 pixels (height x width, or with 2 to 4 channels) as the bytes of a file, lossless."""
    return save(_image(pixels), format)


def save(image: Any, format: str = "png") -> bytes:
    """A Pillow image as the bytes of a file; a mode that the format lacks becomes RGB or RGBA."""
    kept = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") if format == "png" else ("RGB", "RGBA", "L")
    if image.mode not in kept:
        alpha = image.has_transparency_data if hasattr(image, "has_transparency_data") else image.mode.endswith("A")
        image = image.convert("RGBA" if alpha else "RGB")
    body = io.BytesIO()
    if format == "webp":
        image.save(body, "WEBP", lossless=True, quality=0, exact=True)
    else:
        image.save(body, "PNG", compress_level=COMPRESS_LEVEL)
    return body.getvalue()


def encode_frames(frames: numpy.ndarray[Any, Any], milliseconds: int) -> bytes:
    """uint8 frames as an animated PNG, lossless."""
    pictures = [_image(frame) for frame in frames]
    body = io.BytesIO()
    pictures[0].save(
        body, "PNG", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0,
        compress_level=COMPRESS_LEVEL,
    )  # fmt: skip
    return body.getvalue()


def is_picture(value: Any, modules: Any) -> bool:
    """Whether a value is a Pillow image, given the loaded modules: without Pillow there is none."""
    pillow = modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def decode(content: bytes) -> numpy.ndarray[Any, Any]:
    """The pixels of a file. Raises `InvalidMedia` if it is no image, is damaged, or is too large."""
    import numpy

    with _opened(content) as image:
        if image.mode == "1":
            return numpy.array(image.convert("L"))
        if image.mode in ("P", "CMYK", "YCbCr"):
            return numpy.array(image.convert("RGBA" if "transparency" in image.info else "RGB"))
        return numpy.array(image)


def size_of(content: bytes) -> tuple[int, int]:
    """Width and height of a file, without decoding it. Raises `InvalidMedia`."""
    with _opened(content, load=False) as image:
        width, height = image.size
        return int(width), int(height)


def thumbnail(content: bytes, longest: int) -> bytes:
    """A small copy of an image as a PNG: no side is longer than that."""
    with _opened(content) as image:
        image.thumbnail((longest, longest))
        return save(image)


def decode_frames(content: bytes, milliseconds: int, count: int = 0) -> Frames:
    """The frames of an animation, each as often as it was recorded: the encoder merges equal ones.

    `count`: the number of recorded frames, if all of them may be equal; such a file has one without a duration.
    """
    import numpy
    from PIL import ImageSequence

    found: list[Any] = []
    with _opened(content) as image:
        width, height = image.size
        for frame in ImageSequence.Iterator(image):
            shown = max(1, round(frame.info.get("duration", milliseconds) / milliseconds)) if milliseconds else 1
            if len(found) + shown > MAX_FRAMES:
                raise InvalidMedia(f"the animation has more than {MAX_FRAMES:,} frames")
            check_size(width * (len(found) + shown), height)
            found += [numpy.array(frame)] * shown
    if len(found) == 1 and 1 < count <= MAX_FRAMES:
        found *= count
    return Frames(numpy.stack(found), 1000 / milliseconds if milliseconds else 0.0)


def _image(pixels: numpy.ndarray[Any, Any]) -> Any:
    from PIL import Image

    height, width = pixels.shape[:2]
    check_size(width, height)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    return Image.frombytes(MODES[channels], (width, height), pixels.tobytes())


def _opened(content: bytes, load: bool = True) -> Any:
    from PIL import Image, UnidentifiedImageError

    if format_of(content) == "png":
        check_size(*png_size(content))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content))
        check_size(*image.size)
        if load:
            image.load()
    except UnidentifiedImageError:
        raise InvalidMedia("the image is damaged, or its format is unknown") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidMedia(f"the image cannot be opened: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InvalidMedia(f"the image is damaged: {error}") from None
    return image
