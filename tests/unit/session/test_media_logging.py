"""`tracelet.log()` and the handle take media: by type, at a step, and the reader gives them back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image as Pillow

import tracelet
from tracelet.errors import InvalidMedia, InvalidMetric
from tracelet.store.run import Run

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
ALONE = {"quiet": True, "track_system": False, "track_git": False, "track_env": False, "track_console": False}


def recorded(run: str = "latest") -> Run:
    """The run, as a reader sees it."""
    return tracelet.open_store().run(run)


def test_media_and_numbers_are_logged_together() -> None:
    """One call records points and media at the same step; nested names are joined; bare values are told by type."""
    frame = pandas.DataFrame({"a": [1, 2]})
    with tracelet.start_logging("mixed", config=ALONE):
        tracelet.log({
            "loss": 0.5, "samples": tracelet.Image(PIXELS, caption="first"), "picture": Pillow.fromarray(PIXELS),
            "nested": {"frame": frame, "weights": torch.arange(6.0).reshape(2, 3)}, "one": np.array([3.0]),
            "list": [tracelet.Image(PIXELS), tracelet.Image(PIXELS[:2])], "batch": tracelet.Image(PIXELS[None]),
        }, step=7)  # fmt: skip
    run = recorded()
    assert run.media_names() == {
        "batch": "image", "list": "image", "nested/frame": "table", "nested/weights": "histogram", "picture": "image",
        "samples": "image",
    }  # fmt: skip
    assert {item.step for item in run.media()} == {7}
    assert run.series("loss").values.tolist() == [0.5]
    assert run.series("one").values.tolist() == [3.0]
    (samples,) = run.media("samples")
    assert np.array_equal(samples.array(), PIXELS)
    assert (samples.caption, samples.kind, samples.format) == ("first", "image", "png")
    assert np.array_equal(run.media("picture")[0].array(), PIXELS)
    assert [item.array().shape for item in run.media("list")] == [(6, 5, 3), (2, 5, 3)]
    assert run.media("nested/frame")[0].table().to_pydict() == {"a": [1, 2]}
    assert run.media("nested/weights")[0].bins().counts.sum() == 6
    assert run.problems == []


def test_the_handle_takes_every_kind() -> None:
    """Each method records its kind, and the reader has the method that gives it back."""
    frames = np.stack([PIXELS, PIXELS[::-1]])
    sound = np.arange(-500, 500, dtype=np.int16)
    with tracelet.start_logging("kinds", config=ALONE) as experiment:
        experiment.log_image("images", [PIXELS, PIXELS[:3]], 1, caption=["a", "b"], masks=np.eye(3, dtype=int))
        experiment.log_histogram("histogram", counts=[1, 2], edges=[0, 1, 2])
        experiment.log_table("table", columns=["name", "image"], rows=[["x", tracelet.Image(PIXELS)], ["y", None]])
        experiment.log_text("text", "**bold**", format="markdown")
        experiment.log_audio("audio", sound, rate=8000)
        experiment.log_video("video", frames, fps=4)
        experiment.log_object3d("points", np.eye(3, dtype=np.float32))
        experiment.set_iteration(40)
        experiment.log_text("text", "later")
    run = recorded()
    first, second = run.media("images")
    assert (first.caption, second.caption, second.record.index, second.record.count) == ("a", "b", 1, 2)
    assert first.mask().tolist() == np.eye(3).tolist()
    assert run.media("histogram")[0].bins().counts.tolist() == [1, 2]
    image, nothing = run.media("table")[0].cells("image")
    assert image is not None
    assert np.array_equal(image.array(), PIXELS)
    assert nothing is None
    assert [(item.step, item.text()) for item in run.media("text")] == [(0, "**bold**"), (40, "later")]
    assert run.media("audio")[0].samples().array.ravel().tolist() == sound.tolist()
    assert np.array_equal(run.media("video")[0].frames().array, frames)
    assert run.media("points")[0].points().tolist() == np.eye(3).tolist()
    with pytest.raises(InvalidMedia, match="is no table"):
        run.media("audio")[0].table()
    with pytest.raises(KeyError, match="it has: audio, histogram"):
        run.media("nothing")
    assert run.media("text", step=40)[0].text() == "later"


def test_figures_are_drawn_when_they_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Matplotlib figure that is closed right after logging is recorded as it was, and is unchanged by us."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(2, 1), dpi=50)
    figure.subplots().plot([1, 2])
    canvas = figure.canvas
    with tracelet.start_logging("figure", config=ALONE) as experiment:
        tracelet.log({"figure": figure}, step=1)
        experiment.log_figure("svg", figure, 1, format="svg")
        figure.clear()
    run = recorded()
    found = run.media("figure")[0].array()
    assert found.shape[:2] == (50, 100)
    assert len(np.unique(found)) > 2
    assert "<svg" in run.media("svg")[0].text()
    assert figure.canvas is canvas


def test_log_never_raises_and_reports_once(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be taken costs that entry only: broken objects, impossible shapes, empty arrays."""

    class Broken:
        shape, dtype = (2, 2), np.dtype("f4")

        def __array__(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("no data")

    tracelet.start_logging("odd", config=ALONE)
    for attempt in range(2):
        tracelet.log({
            "fine": 1.0, "empty": np.zeros(0), "broken": Broken(), "words": np.array(["a", "b"]), "object": object(),
            "good": tracelet.Text("x"), "": np.zeros(5),
        }, step=attempt)  # fmt: skip
    tracelet.stop_logging()
    found = recorded()
    assert [item.step for item in found.media("good")] == [0, 1]
    assert found.series("fine").steps.tolist() == [0, 1]
    for name in ("empty", "broken", "words", "object"):
        assert sum(f"'{name}'" in problem for problem in found.problems) == 1
    assert len({message for message in caplog.messages if "'object'" in message}) == 1


def test_named_calls_raise_for_what_makes_no_sense() -> None:
    """The message says what was given and what to type; nothing is recorded."""
    with tracelet.start_logging("strict", config=ALONE) as experiment:
        with pytest.raises(InvalidMedia, match="5x6x7 is no image"):
            experiment.log_image("image", np.zeros((5, 6, 7)))
        with pytest.raises(InvalidMedia, match=r"'image': there is no file at 'nowhere\.png'"):
            experiment.log_image("image", "nowhere.png")
        with pytest.raises(InvalidMedia, match="2 values have 1 captions"):
            experiment.log_text("text", ["a", "b"], caption=["one"])
        with pytest.raises(InvalidMedia, match="non-empty string"):
            experiment.log_text("", "a")
        with pytest.raises(InvalidMetric, match="A step is an integer"):
            experiment.log_text("text", "a", 1.5)  # type: ignore[arg-type]
    assert recorded().media_names() == {}


def test_after_the_end_nothing_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """A handle of an ended run accepts media and says once that they are lost; a disabled one says nothing."""
    with tracelet.start_logging("ended", config=ALONE) as experiment:
        pass
    experiment.log_text("late", "x")
    experiment.log({"late": tracelet.Text("x")})
    assert sum("was logged after its run ended" in message for message in caplog.messages) == 1
    disabled = tracelet.start_logging("off", config={"enabled": False})
    disabled.log_image("image", PIXELS)
    tracelet.stop_logging()
    assert recorded("ended").media() == []


def test_a_resumed_run_continues_and_replaces(tmp_path: Path) -> None:
    """Media without a step continue where the first process ended; repeated steps replace the abandoned ones."""
    for launch, words in enumerate(("first", "second")):
        with tracelet.start_logging("again", run_id="again", config=ALONE) as experiment:
            for step in range(launch, 3):
                experiment.log_text("stepped", f"{words} {step}", step)
            experiment.log_text("counted", words)
    run = recorded("again")
    assert [item.text() for item in run.media("stepped")] == ["first 0", "second 1", "second 2"]
    assert [(item.step, item.text()) for item in run.media("counted")] == [(0, "first"), (1, "second")]


def test_missing_and_damaged_contents_are_errors_of_the_reader() -> None:
    """A content that was deleted or changed is refused, and the run stays readable."""
    with tracelet.start_logging("damaged", config=ALONE) as experiment:
        experiment.log_image("image", [PIXELS, PIXELS[:2]])
    first, second = recorded().media("image")
    folder = recorded().path / "media"
    (folder / first.record.digest[:2] / first.record.digest).unlink()
    (folder / second.record.digest[:2] / second.record.digest).write_bytes(b"other")
    with pytest.raises(FileNotFoundError):
        first.array()
    with pytest.raises(ValueError, match="is damaged"):
        second.array()


def test_a_namespace_is_no_media() -> None:
    """Objects with fields are still read field by field."""
    with tracelet.start_logging("fields", config=ALONE):
        tracelet.log({"eval": SimpleNamespace(loss=0.5, image=tracelet.Text("x"))})
    assert recorded().metrics() == ["eval/loss"]
    assert recorded().media_names() == {"eval/image": "text"}
