"""Histograms, tables, sound, video, points, texts and curves: what is recorded of them comes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tracelet
from tracelet.errors import InvalidMedia
from tracelet.media import arrays, arrow_file, curves, histogram, image_file, ply_file, wave_file
from tracelet.media.content_folder import ContentFolder
from tracelet.media.media_value import Encoded, MediaValue

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)


def encoded(value: MediaValue) -> Encoded:
    """The recorded form of a value that is no file, as the recorder has it encoded."""
    with arrays.quiet():
        return value.snapshot(ContentFolder(Path("unused"))).encode()


def content(value: MediaValue) -> bytes:
    """Its bytes."""
    found = encoded(value).content
    assert isinstance(found, bytes)
    return found


@given(st.lists(st.floats(), min_size=1, max_size=50), st.integers(1, 20))
def test_a_histogram_counts_every_finite_value(values: list[float], bins: int) -> None:
    """The counts are those of numpy, whatever the values; NaN and infinities are counted apart."""
    found = encoded(tracelet.Histogram(np.array(values), bins=bins))
    result = histogram.decode(content(tracelet.Histogram(np.array(values), bins=bins)))
    finite = [value for value in values if np.isfinite(value)]
    assert result.counts.sum() == len(finite)
    assert (np.diff(result.edges) >= 0).all()
    assert found.extra["values"] == len(values)
    assert found.extra.get("nan", 0) + found.extra.get("infinite", 0) == len(values) - len(finite)


def test_integers_get_a_bin_each() -> None:
    """Class numbers are not spread over bins of fractional width."""
    result = histogram.decode(content(tracelet.Histogram(torch.tensor([0, 1, 1, 3]))))
    assert result.counts.tolist() == [1, 2, 0, 1]
    assert result.edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]


@given(st.lists(st.integers(0, 2**60), min_size=1, max_size=20))
def test_counts_and_edges_are_exact(counts: list[int]) -> None:
    """A histogram that the program computed is read back bit for bit."""
    edges = np.cumsum(np.random.default_rng(len(counts)).random(len(counts) + 1) + 1e-9)
    result = histogram.decode(content(tracelet.Histogram(counts=counts, edges=edges)))
    assert result.counts.tolist() == counts
    assert result.edges.tobytes() == edges.tobytes()


COLUMNS = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.sampled_from([
        lambda n: [1.5, float("nan"), None, -0.0, float("inf")][:n],
        lambda n: [2**62, None, -5, 0, 1][:n],
        lambda n: ["a", "", None, "ünï\n", "x" * 1000][:n],
        lambda n: [True, None, False, True, True][:n],
        lambda n: [[1, 2], [], None, [3], [4]][:n],
    ]),
    min_size=1, max_size=4,
)  # fmt: skip


@given(COLUMNS, st.integers(0, 5))
def test_tables_keep_types_nulls_and_nan(makers: dict[str, Callable[[int], list[Any]]], rows: int) -> None:
    """Columns of any names come back with their types; a NaN stays a NaN, and a null a null."""
    given = {name: make(rows) for name, make in makers.items()}
    back = arrow_file.decode(content(tracelet.Table(given))).to_pydict()
    assert list(back) == list(given)
    assert [[repr(value) for value in column] for column in back.values()] == [
        [repr(value) for value in column] for column in given.values()
    ]


def test_data_frames_are_taken() -> None:
    """pandas' frames keep NaN, times, categories and a named index; rows and records become columns."""
    frame = pandas.DataFrame({
        "score": [0.5, float("nan")], "name": ["a", None], "when": pandas.to_datetime(["2026-01-02", None]),
        "kind": pandas.Categorical(["x", "y"]), "count": pandas.array([1, None], dtype="Int64"),
    }, index=pandas.Index([7, 8], name="id"))  # fmt: skip
    table = arrow_file.decode(content(tracelet.Table(frame)))
    assert table.column_names == ["id", "score", "name", "when", "kind", "count"]
    assert table["score"].null_count == 0
    assert [table[name].null_count for name in ("name", "when", "count")] == [1, 1, 1]
    assert pyarrow.types.is_dictionary(table.schema.field("kind").type)
    rows = arrow_file.decode(content(tracelet.Table(columns=["a", "b"], rows=[(1, "x"), (2, None)])))
    assert rows.to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    records = arrow_file.decode(content(tracelet.Table([{"a": 1}, {"b": np.float32(0.5)}])))
    assert records.to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": 0.5}]
    mixed = encoded(tracelet.Table({"a": [1, "x", None]}))
    assert mixed.extra["as_text"] == ["a"]


def test_an_arrow_table_of_many_rows_is_read_in_batches() -> None:
    """200,000 rows keep their order and are stored in several batches."""
    table = pyarrow.table({"n": np.arange(200_000)})
    body = content(tracelet.Table(table))
    assert arrow_file.decode(body).equals(table)
    assert pyarrow.ipc.open_file(body).num_record_batches == 4


@pytest.mark.parametrize("kind", ["int16", "int32", "uint8"])
def test_sound_comes_back_bit_for_bit(kind: str) -> None:
    """Integer samples are exact, mono and stereo, channels first or last."""
    info = np.iinfo(kind)
    samples = np.random.default_rng(0).integers(info.min, info.max, (100, 2), dtype=kind, endpoint=True)
    for logged, expected in (
        (samples, samples), (samples.T, samples), (samples[:, 0], samples[:, :1]), (torch.from_numpy(samples), samples)
    ):  # fmt: skip
        found = wave_file.decode(content(tracelet.Audio(logged, rate=8000)))
        assert found.rate == 8000
        assert np.array_equal(found.array, expected)


def test_sound_outside_its_range_is_clipped_with_a_remark() -> None:
    """Floats have 16 bits; what is louder than 1 is clipped, counted and reported."""
    found = encoded(tracelet.Audio(torch.tensor([0.0, 0.5, -1.0, 2.0]), rate=4))
    assert (found.extra["clipped"], found.extra["seconds"]) == (1, 1.0)
    assert "clipped" in found.remark
    assert wave_file.decode(content(tracelet.Audio(np.array([0.5, -1.0]), rate=4))).array.ravel().tolist() == [
        16384, -32767,
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(6, 5, 7), (6, 5, 7, 3), (6, 5, 7, 4)])
@pytest.mark.parametrize("equal", [0, 3, 6])
def test_frames_come_back_bit_for_bit(shape: tuple[int, ...], equal: int) -> None:
    """A video of frames is lossless, also where frames repeat."""
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    frames[:equal] = frames[0]
    found = encoded(tracelet.Video(frames, fps=25, layout="HWC" if len(shape) == 4 else "HW"))
    assert isinstance(found.content, bytes)
    back = image_file.decode_frames(found.content, found.extra["milliseconds"], found.extra["frames"])
    assert back.fps == 25
    assert np.array_equal(back.array, frames)


def test_points_come_back() -> None:
    """A cloud keeps its coordinates as float32 and its colors as bytes."""
    points = np.random.default_rng(0).random((50, 6), dtype=np.float32)
    points[:, 3:] = np.round(points[:, 3:] * 255)
    assert np.array_equal(ply_file.decode(content(tracelet.Object3D(points))), points)
    assert np.array_equal(ply_file.decode(content(tracelet.Object3D(points[:, :3]))), points[:, :3])


def test_curves_equal_those_of_scikit_learn() -> None:
    """Precision, recall and the rates of false and true positives are scikit-learn's, at every distinct score."""
    from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

    random = np.random.default_rng(0)
    truth, scores = random.integers(0, 2, 300), random.random(300).round(2)
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    ours = curves.curve("pr_curve", truth, scores)
    assert ours["threshold"] == thresholds[::-1].tolist()
    assert np.allclose(ours["precision"], precision[-2::-1])
    assert np.allclose(ours["recall"], recall[-2::-1])
    false, true, cuts = roc_curve(truth, scores, drop_intermediate=False)
    ours = curves.curve("roc_curve", truth, scores)
    assert ours["threshold"] == cuts[1:].tolist()
    assert np.allclose(ours["false_positive_rate"], false[1:])
    assert np.allclose(ours["true_positive_rate"], true[1:])
    classes, predicted = random.integers(0, 4, 200), random.integers(0, 4, 200)
    table = curves.confusion(classes, predicted, ["a", "b", "c", "d"])
    assert np.array(table["count"]).reshape(4, 4).tolist() == confusion_matrix(classes, predicted).tolist()
    assert table["actual"][:5] == ["a", "a", "a", "a", "b"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (tracelet.Histogram, "either values, or counts and edges"),
        (lambda: tracelet.Histogram(counts=[1, 2], edges=[0, 1]), "2 counts need 3 edges"),
        (lambda: tracelet.Histogram(counts=[1], edges=[1, 1]), "must ascend"),
        (lambda: tracelet.Histogram([1.0], bins=0), "expected 1 to"),
        (lambda: tracelet.Table({"a": [1], "b": [1, 2]}), "differ in length"),
        (lambda: tracelet.Table(columns=["a"], rows=[[1, 2]]), "2 values for 1 columns"),
        (lambda: tracelet.Table(5), "a int is no table"),
        (lambda: tracelet.Audio(np.zeros(5)), "rate is None"),
        (lambda: tracelet.Audio(np.zeros((50, 60)), rate=5), "is no sound"),
        (lambda: encoded(tracelet.Audio(b"hello")), "this file is no sound"),
        (lambda: tracelet.Video(np.zeros((5, 5))), "is no video"),
        (lambda: tracelet.Video(np.zeros((5, 5, 5)), fps=0), "fps is 0"),
        (lambda: tracelet.Object3D(np.zeros((5, 2))), "is no point cloud"),
        (lambda: tracelet.Text(5), "a int is no string"),
        (lambda: tracelet.Text("x", format="rtf"), "expected one of plain"),
        (lambda: tracelet.Text("x", caption=5), "not a string"),  # type: ignore[arg-type]
        (lambda: tracelet.PRCurve([0, 1], [0.5]), "expected \\(n,\\)"),
        (lambda: encoded(tracelet.ConfusionMatrix([0.5], [1])), "must be integers"),
        (lambda: tracelet.Figure(5), "a int is no figure"),
    ],
)
def test_what_makes_no_sense_is_an_error_that_says_what_to_type(make: Callable[[], Any], message: str) -> None:
    """The message names what was given and what is expected."""
    with pytest.raises(InvalidMedia, match=message):
        make()
