"""`tracelet.Audio`: sound from arrays and tensors, as WAV, and from files that are WAV, FLAC, Ogg or MP3.

Copied on the program's thread, encoded on the recorder's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tracelet.errors import InvalidMedia
from tracelet.journal.media_record import AUDIO
from tracelet.media import arrays, wave_file
from tracelet.media.content_folder import ContentFolder
from tracelet.media.formats import AUDIO_FORMATS, format_of, format_of_file
from tracelet.media.media_value import Encoded, MediaValue, Ready, Snapshot, Stored, file_path

MAX_CHANNELS = 32
MAX_RATE = 1_000_000


class Audio(MediaValue):
    """Sound: an array of samples, or of channels and samples in either order, with its `rate`; a path; or bytes.

    int16, int32 and uint8 samples are recorded exactly, floats in [-1, 1] with 16 bits.
    """

    kind: ClassVar[str] = AUDIO

    def __init__(self, data: Any, rate: int | None = None, caption: str = "") -> None:
        super().__init__(caption)
        self._data = data
        self._rate = 0
        if arrays.is_array(data):
            if rate is None or not 0 < int(rate) <= MAX_RATE:
                raise InvalidMedia(f"rate is {rate!r}; expected the samples per second, e.g. rate=16000")
            self._rate = int(rate)
            _check(arrays.shape_of(data))

    def snapshot(self, folder: ContentFolder) -> Snapshot:
        """A copy of the samples, or of the file."""
        if self._rate:
            return _Samples(arrays.copied(self._data), self._rate)
        if isinstance(self._data, (bytes, bytearray, memoryview)):
            content = bytes(self._data)
            return Ready(Encoded(AUDIO, _known(format_of(content)), content))
        path = file_path(self._data)
        if path is None:
            raise InvalidMedia(f"a {type(self._data).__name__} is no sound; expected an array, a tensor, a path, bytes")
        return Ready(Encoded(AUDIO, _known(format_of_file(path)), Stored(*folder.put_file(path))))


@dataclass(frozen=True)
class _Samples:
    """A copy of the samples, on their device."""

    array: Any
    rate: int

    @property
    def nbytes(self) -> int:
        return arrays.size_in_memory(self.array)

    def encode(self) -> Encoded:
        import numpy

        samples = arrays.to_numpy(self.array)
        if samples.ndim == 1:
            samples = samples[:, None]
        elif samples.shape[0] <= MAX_CHANNELS and samples.shape[0] < samples.shape[1]:
            samples = samples.T
        extra: dict[str, Any] = {"rate": self.rate, "channels": samples.shape[1]}
        remark = ""
        if samples.dtype.kind == "f":
            clipped = int((~(numpy.abs(samples) <= 1.0)).sum())
            if clipped:
                extra["clipped"] = clipped
                remark = f"{clipped:,} samples are outside [-1, 1], the range of floating-point sound, and were clipped"
            samples = (numpy.nan_to_num(samples, nan=0.0).clip(-1, 1) * 32767).round().astype(numpy.int16)
        elif samples.dtype.name not in ("int16", "int32", "uint8"):
            raise InvalidMedia(f"samples are {samples.dtype}; expected int16, int32, uint8, or floats in [-1, 1]")
        extra["seconds"] = samples.shape[0] / self.rate
        return Encoded(AUDIO, "wav", wave_file.encode(samples, self.rate), extra=extra, remark=remark)


def _check(shape: tuple[int, ...]) -> None:
    if len(shape) not in (1, 2) or (len(shape) == 2 and min(shape) > MAX_CHANNELS) or 0 in shape:
        text = "x".join(map(str, shape))
        raise InvalidMedia(f"an array of shape {text} is no sound; expected samples, or channels and samples")


def _known(format: str) -> str:
    if format not in AUDIO_FORMATS:
        raise InvalidMedia(f"this file is no sound; expected one of {', '.join(sorted(AUDIO_FORMATS))}")
    return format
