"""Sound as WAV files, and back, with the standard library. Used on the recorder's thread, and by readers on any.

The module `wave` is imported when there is sound: a program's own `wave.py` would be found in its place, and run.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

from tracelet.errors import InvalidMedia

if TYPE_CHECKING:
    import numpy

WIDTHS = {1: "u1", 2: "<i2", 4: "<i4"}
"""Bytes of a sample to numpy's type; 8 bits are unsigned in this format."""


class Samples(NamedTuple):
    """Sound: samples x channels, and the samples per second."""

    array: numpy.ndarray[Any, Any]
    rate: int


def encode(samples: numpy.ndarray[Any, Any], rate: int) -> bytes:
    """Samples of uint8, int16 or int32 (samples x channels) as a file."""
    import wave

    body = io.BytesIO()
    with wave.open(body, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(samples.dtype.itemsize)
        file.setframerate(rate)
        file.writeframes(samples.astype(samples.dtype.newbyteorder("<")).tobytes())
    return body.getvalue()


def decode(content: bytes) -> Samples:
    """The samples of a file. Raises `InvalidMedia`."""
    import wave

    import numpy

    try:
        with wave.open(io.BytesIO(content), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise InvalidMedia(f"the WAV file cannot be read: {error}") from None
    if width not in WIDTHS:
        raise InvalidMedia(f"samples of {8 * width} bits cannot be read")
    whole = len(frames) // (width * channels) * width * channels
    return Samples(numpy.frombuffer(frames[:whole], WIDTHS[width]).reshape(-1, channels), rate)


def duration(content: bytes) -> float:
    """Seconds. Raises `InvalidMedia`."""
    import wave

    try:
        with wave.open(io.BytesIO(content), "rb") as file:
            return file.getnframes() / max(1, file.getframerate())
    except (wave.Error, EOFError) as error:
        raise InvalidMedia(f"the WAV file cannot be read: {error}") from None
