"""Images: which axis is which, which values are black and white, and exact round trips."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

import tracelet
from tracelet.errors import InvalidMedia
from tracelet.media import image_file
from tracelet.media.content_folder import ContentFolder
from tracelet.media.formats import MAX_PIXELS, format_of
from tracelet.media.media_value import Encoded, MediaValue

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([0, 1, 2, 3, 4]))


def encoded(value: MediaValue, folder: Path = Path("unused")) -> Encoded:
    """The one file of a value."""
    return value.snapshot(ContentFolder(folder)).encode()


def pixels(value: MediaValue) -> Any:
    """What a reader gets of a value."""
    content = encoded(value).content
    assert isinstance(content, bytes)
    return image_file.decode(content)


@given(SHAPES, st.integers(0, 2**32 - 1))
def test_uint8_comes_back_bit_for_bit(shape: tuple[int, int, int], seed: int) -> None:
    """Gray, gray with alpha, RGB and RGBA arrays of any size are read back as they were logged."""
    height, width, channels = shape
    array = np.random.default_rng(seed).integers(0, 256, (height, width, channels or 1), dtype=np.uint8)
    given = array[:, :, 0] if channels == 0 else array
    layout = "HW" if channels == 0 else "HWC"
    found = pixels(tracelet.Image(given, layout=layout))
    expected = array[:, :, 0] if channels in (0, 1) else array
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


def test_tensors_have_their_channels_first_and_arrays_last() -> None:
    """CHW and HWC are told by the shape, and where both fit, by the library."""
    array = np.arange(3 * 5 * 6, dtype=np.uint8).reshape(5, 6, 3)
    assert np.array_equal(pixels(tracelet.Image(array)), array)
    assert np.array_equal(pixels(tracelet.Image(torch.from_numpy(array).permute(2, 0, 1))), array)
    assert np.array_equal(pixels(tracelet.Image(array.transpose(2, 0, 1))), array)
    cube = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert np.array_equal(pixels(tracelet.Image(cube)), cube)
    assert np.array_equal(pixels(tracelet.Image(torch.from_numpy(cube))), cube.transpose(1, 2, 0))
    assert np.array_equal(pixels(tracelet.Image(cube, layout="CHW")), cube.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("values", "options", "expected", "remark"),
    [
        ([0.0, 0.5, 1.0], {}, [0, 128, 255], False),
        ([-1.0, 0.0, 1.0], {"range": "signed"}, [0, 128, 255], False),
        ([0.0, 127.5, 255.0], {"range": "byte"}, [0, 128, 255], False),
        ([2.0, 3.0, 4.0], {"range": (2, 4)}, [0, 128, 255], False),
        ([2.0, 3.0, 4.0], {"range": "auto"}, [0, 128, 255], False),
        ([-1.0, 0.0, 1.0], {}, [0, 128, 255], True),
        ([0.0, 100.0, 200.0], {}, [0, 128, 255], True),
        ([7.0, 7.0, 7.0], {}, [128, 128, 128], True),
        ([0.0, float("nan"), 1.0], {}, [0, 0, 255], False),
    ],
)
def test_no_range_makes_an_image_black(
    values: list[float], options: dict[str, Any], expected: list[int], remark: bool
) -> None:
    """A stated range is applied; without one, values outside [0, 1] are scaled to be seen, and the user is told."""
    for array in (np.array([values]), torch.tensor([values], dtype=torch.float16)):
        result = encoded(tracelet.Image(array, **options))
        assert isinstance(result.content, bytes)
        assert image_file.decode(result.content).tolist() == [expected]
        assert bool(result.remark) is remark


def test_other_types_are_seen_too() -> None:
    """Booleans are black and white; class numbers are scaled, with a remark; bfloat16 is read."""
    assert pixels(tracelet.Image(np.array([[False, True]]))).tolist() == [[0, 255]]
    classes = encoded(tracelet.Image(np.array([[0, 1, 2]])))
    assert classes.extra["range"] == [0.0, 2.0]
    assert "range='byte'" in classes.remark
    assert pixels(tracelet.Image(torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16))).tolist() == [[0, 255]]


def test_a_batch_is_several_images_or_a_grid() -> None:
    """NHWC and NCHW become one image each; `columns` makes one image with gaps."""
    batch = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    parts = tracelet.Image(batch).parts()
    assert [np.array_equal(pixels(part), batch[place]) for place, part in enumerate(parts)] == [True] * 5
    assert len(tracelet.Image(torch.from_numpy(batch).permute(0, 3, 1, 2)).parts()) == 5
    (grid,) = tracelet.Image(batch, columns=2).parts()
    whole = encoded(grid)
    assert (whole.width, whole.height, whole.extra["grid"]) == (6 * 2 + 2, 4 * 3 + 2 * 2, [3, 2, 5])
    assert np.array_equal(pixels(grid)[:4, 8:], batch[1])


def test_a_later_change_of_the_program_does_not_reach_the_image() -> None:
    """The snapshot is a copy: of arrays, tensors and Pillow images."""
    array = np.zeros((2, 2), dtype=np.uint8)
    tensor, picture = torch.zeros(2, 2, dtype=torch.uint8, requires_grad=False), Pillow.new("L", (2, 2))
    taken = [tracelet.Image(value).snapshot(ContentFolder(Path("x"))) for value in (array, tensor, picture)]
    array[:], tensor[:] = 9, 9
    picture.putpixel((0, 0), 9)
    for snapshot in taken:
        content = snapshot.encode().content
        assert isinstance(content, bytes)
        assert image_file.decode(content).sum() == 0


def test_files_and_bytes_are_recorded_as_they_are(tmp_path: Path) -> None:
    """The format is told by the bytes, whatever the name; a file is copied; SVG is not decoded."""
    body = io.BytesIO()
    Pillow.new("RGB", (3, 2), "red").save(body, "JPEG")
    path = tmp_path / "photo.png"
    path.write_bytes(body.getvalue())
    for value in (tracelet.Image(path), tracelet.Image(str(path)), tracelet.Image(body.getvalue())):
        found = encoded(value, tmp_path / "media")
        assert (found.format, found.width, found.height) == ("jpeg", 3, 2)
    svg = encoded(tracelet.Image(b"<?xml version='1.0'?>\n<svg xmlns='x'/>"))
    assert svg.format == "svg"
    with pytest.raises(InvalidMedia, match="no file at"):
        encoded(tracelet.Image(tmp_path / "missing.png"))
    with pytest.raises(InvalidMedia, match="are no image"):
        encoded(tracelet.Image(b"MZ not an image"))


def test_layers_are_kept() -> None:
    """Boxes and masks come in named groups; a mask's classes are read back exactly."""
    mask = np.array([[0, 1], [2, 255]])
    value = tracelet.Image(
        np.zeros((2, 2), dtype=np.uint8),
        boxes={"truth": [{"box": (0, 0, 1, 1), "label": "cat", "score": 0.5}], "found": [(0, 0, 2, 2)]},
        masks=mask, labels=["sky", "road"],
    )  # fmt: skip
    found = encoded(value)
    assert found.extra["boxes"]["truth"] == [{"box": [0, 0, 1, 1], "label": "cat", "score": 0.5}]
    assert found.extra["boxes"]["found"] == [{"box": [0, 0, 2, 2]}]
    assert found.extra["labels"] == {"0": "sky", "1": "road"}
    assert image_file.decode(found.attached[0]).tolist() == mask.tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tracelet.Image(np.zeros((5, 7, 9))), "5x7x9 is no image"),
        (lambda: tracelet.Image(np.zeros((0, 7))), "has no pixels"),
        (lambda: tracelet.Image(np.zeros((5, 7)), layout="HWC"), "does not fit the shape 5x7"),
        (lambda: tracelet.Image(np.zeros((5, 7)), range="255"), "expected 'unit', 'signed'"),
        (lambda: tracelet.Image(np.zeros((5, 7)), format="bmp"), "expected one of png, webp"),
        (lambda: tracelet.Image(np.zeros((5, 7)), boxes=[{"label": "x"}]), "a box cannot be read"),
        (lambda: encoded(tracelet.Image(np.array([["a", "b"]]))), "no array of real numbers"),
        (lambda: encoded(tracelet.Image(torch.zeros(2, 2, dtype=torch.complex64))), "no array of real numbers"),
        (lambda: encoded(tracelet.Image(object())), "a object is no image"),
    ],
)
def test_what_makes_no_sense_is_an_error_that_says_what_to_type(make: Any, message: str) -> None:
    """The message names what was given and what is expected."""
    with pytest.raises(InvalidMedia, match=message):
        make()


def test_decoding_is_bounded() -> None:
    """A PNG that claims 50,000 x 50,000 pixels is refused with its size, and so is one that is cut off."""
    body = bytearray(image_file.encode(np.zeros((2, 2), dtype=np.uint8)))
    body[16:24] = (50_000).to_bytes(4, "big") * 2
    with pytest.raises(InvalidMedia, match="50,000 x 50,000 pixels"):
        image_file.decode(bytes(body))
    with pytest.raises(InvalidMedia, match="damaged|cut off"):
        image_file.decode(image_file.encode(np.zeros((9, 9), dtype=np.uint8))[:40])
    assert MAX_PIXELS < 50_000 * 50_000


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"), (b"RIFF\0\0\0\0WAVE", "wav"), (b"RIFF\0\0\0\0WEBP", "webp"),
        (b"\0\0\0\x18ftypisom", "mp4"), (b"<svg ", "svg"), (b"<!-- x --><svg>", "svg"), (b"<html><svg>", ""),
        (b"# a\nv 1.0 2 3", "obj"), (b"hello", ""), (b"", ""),
    ],
)  # fmt: skip
def test_formats_are_told_by_their_bytes(head: bytes, format: str) -> None:
    """The first bytes decide."""
    assert format_of(head) == format
