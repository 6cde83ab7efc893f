"""The part of the handle that logs media: `log_image`, `log_figure`, `log_histogram`, `log_table`, ...

Called on the program's threads: a call takes a copy and returns; encoding and writing happen on the recorder's thread.
Values that make no sense raise `InvalidMedia` here; `log()` reports them instead. The modules about media are loaded by
the first value.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from tracelet.capture.null_buffers import EndedBuffer, NullWriter, warn_after_end
from tracelet.capture.step_numbers import checked_step
from tracelet.capture.writer import Writer
from tracelet.errors import InvalidMedia
from tracelet.guard import guard

if TYPE_CHECKING:
    from tracelet.media.media_value import MediaValue
    from tracelet.media.recorder import MediaRecorder

DEFAULT_MEGABYTES = 256
Captions = Union[str, Sequence[str]]


class MediaLogging:
    """Methods of `Experiment`."""

    def __init__(self, folder: Path, writer: Writer | NullWriter) -> None:
        self._folder = folder
        self._writer = writer
        self._iteration: int | None = None
        self._media: MediaRecorder | None = None
        self._making = threading.RLock()
        self.media_megabytes = DEFAULT_MEGABYTES
        """The memory for media that wait to be written; the session sets it."""
        self.next_media_steps: Mapping[str, int] = {}
        """Of a resumed run: the next step of each name; the session sets it."""

    def log_image(
        self, name: str, data: Any, step: int | None = None, *, caption: Captions = "", range: Any = None,
        layout: str = "", columns: int | None = None, boxes: Any = None, masks: Any = None, labels: Any = None,
        format: str = "png",
    ) -> None:  # fmt: skip
        """Record an image, a list of images, or a batch: arrays, tensors, Pillow images, paths or bytes.

        See `tracelet.Image` for the arguments. Raises `InvalidMedia`.
        """
        from tracelet.media.image import Image

        options = {"range": range, "layout": layout, "columns": columns, "format": format}
        self._log_values(name, data, step, caption, lambda value, words: Image(
            value, words, boxes=boxes, masks=masks, labels=labels, **options
        ))  # fmt: skip

    def log_figure(
        self, name: str, figure: Any, step: int | None = None, *, caption: Captions = "", format: str = "png",
        dpi: float | None = None,
    ) -> None:  # fmt: skip
        """Record a figure of Matplotlib, drawn during the call, or of Plotly. Raises `InvalidMedia`."""
        from tracelet.media.figure import Figure

        self._log_values(name, figure, step, caption, lambda value, words: Figure(value, words, format=format, dpi=dpi))

    def log_histogram(
        self, name: str, values: Any = None, step: int | None = None, *, bins: Union[int, Sequence[float]] = 64,
        counts: Any = None, edges: Any = None, caption: str = "",
    ) -> None:  # fmt: skip
        """Record the distribution of an array's values, or counts with their edges. Raises `InvalidMedia`."""
        from tracelet.media.histogram import Histogram

        self._log_made(name, Histogram(values, caption, bins=bins, counts=counts, edges=edges), step)

    def log_table(
        self, name: str, data: Any = None, step: int | None = None, *, columns: Any = None, rows: Any = None,
        caption: str = "",
    ) -> None:  # fmt: skip
        """Record a data frame, a mapping of names to columns, or columns and rows. Raises `InvalidMedia`."""
        from tracelet.media.table import Table

        self._log_made(name, Table(data, caption, columns=columns, rows=rows), step)

    def log_text(
        self, name: str, text: Any, step: int | None = None, *, format: str = "plain", caption: Captions = ""
    ) -> None:
        """Record a string or a list of strings; `format` is `plain`, `markdown` or `html`. Raises `InvalidMedia`."""
        from tracelet.media.text import Text

        self._log_values(name, text, step, caption, lambda value, words: Text(value, words, format=format))

    def log_audio(
        self, name: str, data: Any, step: int | None = None, *, rate: int | None = None, caption: Captions = ""
    ) -> None:
        """Record sound: samples with their rate, a path, or bytes. Raises `InvalidMedia`."""
        from tracelet.media.audio import Audio

        self._log_values(name, data, step, caption, lambda value, words: Audio(value, rate, words))

    def log_video(
        self, name: str, data: Any, step: int | None = None, *, fps: float = 10.0, range: Any = None, layout: str = "",
        caption: Captions = "",
    ) -> None:  # fmt: skip
        """Record a video: frames, a path, or the bytes of a file. Raises `InvalidMedia`."""
        from tracelet.media.video import Video

        self._log_values(
            name, data, step, caption, lambda value, words: Video(value, words, fps=fps, range=range, layout=layout)
        )

    def log_object3d(self, name: str, data: Any, step: int | None = None, *, caption: Captions = "") -> None:
        """Record a point cloud as an array, or a file with points or a mesh. Raises `InvalidMedia`."""
        from tracelet.media.object3d import Object3D

        self._log_values(name, data, step, caption, Object3D)

    def _log_values(self, name: str, data: Any, step: int | None, captions: Any, make: Any) -> None:
        from tracelet.media.recognition import media_values

        self._take(name, media_values(make, data, captions), step)

    def _log_made(self, name: str, value: MediaValue, step: int | None) -> None:
        self._take(name, value.parts(), step)

    def _take(self, name: str, values: Sequence[MediaValue], step: int | None) -> None:
        at = self._iteration if step is None else checked_step(name, step)
        if not self._writer.recording:
            self._warn_if_ended("media", [name])
            return
        self.media_recorder().take(name, values, at)

    def _log_found(self, name: str, values: Sequence[MediaValue], step: int | None) -> None:
        """Record media that `log()` was given; reports what cannot be taken."""
        with guard("recording media"):
            try:
                self._take(name, values, step)
            except InvalidMedia as error:
                self.media_recorder().report("", f"log(): {error}")

    def media_recorder(self) -> MediaRecorder:
        """The recorder of this run's media; made when it is first needed."""
        if self._media is None:
            from tracelet.media.recorder import MediaRecorder

            with self._making:
                if self._media is None:
                    self._media = MediaRecorder(
                        self._folder, self._writer, self.media_megabytes, self.next_media_steps
                    )  # fmt: skip
        return self._media

    @staticmethod
    def _recognized(value: Any) -> Any:
        from tracelet.media.recognition import recognized

        return recognized(value)

    def _flush_media(self) -> None:
        if self._media is not None and self._writer.recording:
            self._media.flush()

    def close_media(self, timeout: float | None) -> None:
        """Before the journal is sealed: have all media recorded, within the timeout."""
        if self._media is not None:
            with guard("recording the last media"):
                self._media.close(timeout)

    def _warn_if_ended(self, kind: str, names: Iterable[Any]) -> None:
        """Report that the run has ended, once per kind of logged data."""
        if type(self._writer.items) is EndedBuffer:
            for name in islice(names, 1):
                warn_after_end(f"the {kind} {name!r}", kind)
