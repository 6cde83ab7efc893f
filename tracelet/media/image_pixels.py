"""Arrays as pixels: which axis is which, and which values are black and white. Used on the recorder's thread.

uint8 is recorded bit for bit. Any other type needs a range; without one, floats in [0, 1] have that range, and all
others are scaled from their own minimum and maximum, which the record keeps and the user is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from tracelet.errors import InvalidMedia

if TYPE_CHECKING:
    import numpy

CHANNELS = (1, 2, 3, 4)
"""Gray, gray with alpha, RGB, RGBA."""
COMMON_CHANNELS = (1, 3, 4)
"""Those that a shape alone tells; an axis of two may be anything."""
LAYOUTS = ("HW", "HWC", "CHW", "NHW", "NHWC", "NCHW")
RANGES = {"unit": (0.0, 1.0), "signed": (-1.0, 1.0), "byte": (0.0, 255.0)}
AUTO = "auto"
EXAMPLE = "e.g. range='signed' for [-1, 1], range='byte' for [0, 255], or range=(low, high)"

Range = Union[str, tuple[float, float], None]


class Pixels(NamedTuple):
    """uint8 pixels as height x width (x channels), and the scaling that made them."""

    array: numpy.ndarray[Any, Any]
    extra: dict[str, Any]
    remark: str = ""


def checked_range(given: Any) -> Range:
    """The range that a user gave. Raises `InvalidMedia`."""
    if given is None or (isinstance(given, str) and given in (*RANGES, AUTO)):
        return given
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 2:
        low, high = (float(bound) for bound in given)
        if low < high and high - low < float("inf"):
            return low, high
    raise InvalidMedia(f"range is {given!r}; expected 'unit', 'signed', 'byte', 'auto' or (low, high); {EXAMPLE}")


def layout_of(shape: Sequence[int], given: str, channels_first: bool) -> str:
    """Which axis is which. Where both readings fit, tensors have their channels first, and arrays last."""
    text = "x".join(map(str, shape))
    if given:
        layout = given.upper()
        fits = len(layout) == len(shape) and ("C" not in layout or shape[layout.index("C")] in CHANNELS)
        if layout not in LAYOUTS or not fits:
            raise InvalidMedia(f"layout {given!r} does not fit the shape {text}; expected one of {', '.join(LAYOUTS)}")
        return layout
    if not all(shape):
        raise InvalidMedia(f"an array of shape {text} has no pixels")
    if len(shape) == 2:
        return "HW"
    if len(shape) in (3, 4):
        batch = "N" if len(shape) == 4 else ""
        first, last = shape[-3] in COMMON_CHANNELS, shape[-1] in COMMON_CHANNELS
        if first and (channels_first or not last):
            return f"{batch}CHW"
        if last:
            return f"{batch}HWC"
    raise InvalidMedia(
        f"an array of shape {text} is no image: expected height x width, with 1 to 4 channels first or last, and for "
        "a batch one more axis in front. Say which axis is which, e.g. layout='NHW'"
    )


def to_pixels(array: numpy.ndarray[Any, Any], layout: str, given: Range) -> Pixels:
    """One image of the layout HW, HWC or CHW as uint8 pixels."""
    import numpy

    if layout == "CHW":
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype == numpy.bool_:
        return Pixels(numpy.ascontiguousarray(array) * numpy.uint8(255), {})
    if array.dtype == numpy.uint8 and given in (None, "byte"):
        return Pixels(numpy.ascontiguousarray(array), {})
    values: Any = array.astype(numpy.float64 if array.dtype.itemsize > 4 else numpy.float32)
    finite = numpy.isfinite(values)
    extra: dict[str, Any] = {}
    if not finite.all():
        extra["not_finite"] = int(values.size - finite.sum())
        values = numpy.where(finite, values, 0.0)
    low, high, remark = _bounds(array.dtype.kind, values, finite, given)
    if (low, high) != RANGES["unit"] or array.dtype.kind != "f":
        extra["range"] = [low, high]
    scaled = (values - low) / (high - low) * 255.0
    # Infinities and NaN are drawn black: they have no place in the range.
    scaled = numpy.where(finite, scaled, 0.0)
    return Pixels(numpy.ascontiguousarray(scaled.clip(0, 255).round().astype(numpy.uint8)), extra, remark)


def _bounds(kind: str, values: Any, finite: Any, given: Range) -> tuple[float, float, str]:
    """The values that become black and white, and what the user should know about them."""
    if isinstance(given, tuple):
        return *given, ""
    if given in RANGES:
        return *RANGES[str(given)], ""
    held = values[finite]
    low, high = (float(held.min()), float(held.max())) if held.size else (0.0, 1.0)
    if given is None and kind == "f" and low >= 0.0 and high <= 1.0:
        return *RANGES["unit"], ""
    remark = "" if given == AUTO else (
        f"its values are from {low:.6g} to {high:.6g}, and no range was given: they are scaled so that the minimum is "
        f"black and the maximum white; {EXAMPLE}"
    )  # fmt: skip
    return (low, high, remark) if low < high else (low - 0.5, high + 0.5, remark)
