"""Media as a reader gets them back: pixels, frames, counts, rows, samples, text. Read side; writes nothing.

Used by `Run`, on any thread. Contents are read when they are asked for, and their digest is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracelet.errors import InvalidMedia
from tracelet.journal.journal_view import JournalView
from tracelet.journal.media_record import AUDIO, HISTOGRAM, TABLE, TEXT, VIDEO, Media
from tracelet.media import arrow_file, histogram, image_file, ply_file, wave_file
from tracelet.media.content_folder import media_folder
from tracelet.media.histogram import Bins
from tracelet.media.image_file import Frames
from tracelet.media.wave_file import Samples
from tracelet.store.resumed_series import resume_steps

if TYPE_CHECKING:
    import numpy

REPEATED_STAGES = ("test", "predict")
"""Stages that a resumed training does not supersede."""
PICTURES = frozenset({"png", "webp", "jpeg", "gif", "bmp"})


@dataclass(frozen=True)
class MediaItem:
    """One media value of a run. Methods raise `InvalidMedia` for another kind and for damaged contents."""

    record: Media
    run_folder: Path
    rank: int = 0
    branch: int = 0

    @property
    def name(self) -> str:
        """The name under which it was logged."""
        return self.record.name

    @property
    def step(self) -> int:
        """The step at which it was logged."""
        return self.record.step

    @property
    def time(self) -> float:
        """Seconds since the epoch."""
        return self.record.time / 1e6

    @property
    def kind(self) -> str:
        """`image`, `figure`, `histogram`, `text`, `table`, `audio`, `video` or `object3d`."""
        return self.record.kind

    @property
    def format(self) -> str:
        """The format of the bytes: `png`, `wav`, `arrow`, `plotly`, `markdown`, ..."""
        return self.record.format

    @property
    def caption(self) -> str:
        """The caption, or an empty string."""
        return self.record.caption

    @property
    def extra(self) -> dict[str, Any]:
        """More properties, by kind: boxes, the scaling of an image, the columns of a table, the sample rate."""
        return self.record.extra

    def bytes(self) -> bytes:
        """The recorded bytes. FileNotFoundError if they are missing, ValueError if they are damaged."""
        if self.record.content or not self.record.size:
            return self.record.content
        return media_folder(self.run_folder).read(self.record.digest)

    def array(self) -> numpy.ndarray[Any, Any]:
        """The pixels of an image or a drawn figure: uint8, height x width, or x channels."""
        self._needs(self.format in PICTURES, "picture")
        return image_file.decode(self.bytes())

    def mask(self, name: str = "masks") -> numpy.ndarray[Any, Any]:
        """The classes of a mask over an image. KeyError if it has none of this name."""
        digest = self.extra.get("masks", {})[name]
        return image_file.decode(media_folder(self.run_folder).read(digest))

    def frames(self) -> Frames:
        """The frames of a video that was logged as an array, and the frames per second."""
        self._needs(self.kind == VIDEO and self.format in PICTURES, "video of frames")
        milliseconds, count = (int(self.extra.get(name, 0)) for name in ("milliseconds", "frames"))
        return image_file.decode_frames(self.bytes(), milliseconds, count)

    def bins(self) -> Bins:
        """The counts and the edges of a histogram."""
        self._needs(self.kind == HISTOGRAM, "histogram")
        return histogram.decode(self.bytes())

    def text(self) -> str:
        """The string of a text, or the source of a figure of Plotly or SVG."""
        self._needs(self.kind == TEXT or self.format in ("plotly", "svg"), "text")
        return self.bytes().decode("utf-8", "replace")

    def table(self) -> Any:
        """The table as a `pyarrow.Table`; `.to_pandas()` makes a data frame. Needs pyarrow."""
        self._needs(self.kind == TABLE, "table")
        return arrow_file.decode(self.bytes())

    def cells(self, column: str) -> list[MediaItem | None]:
        """The media in a column of a table."""
        return [
            None if reference is None else self._cell(reference) for reference in self.table()[column].to_pylist()
        ]  # fmt: skip

    def samples(self) -> Samples:
        """The samples of a WAV file (samples x channels), and their rate."""
        self._needs(self.kind == AUDIO and self.format == "wav", "WAV file")
        return wave_file.decode(self.bytes())

    def points(self) -> numpy.ndarray[Any, Any]:
        """The points of a cloud that was logged as an array: n x 3 or n x 6, float32."""
        self._needs(self.format == ply_file.FORMAT, "point cloud")
        return ply_file.decode(self.bytes())

    def _cell(self, reference: str) -> MediaItem:
        kind, format, digest = (reference.split("/") + ["", ""])[:3]
        record = Media(
            time=self.record.time, name=self.name, step=self.step, kind=kind, format=format, digest=digest, size=1
        )
        return MediaItem(record, self.run_folder, self.rank, self.branch)

    def _needs(self, fits: bool, what: str) -> None:
        if not fits:
            raise InvalidMedia(f"{self.name!r} is no {what}: it is of the kind {self.kind}, as {self.format}")


def names(views: Iterable[JournalView]) -> dict[str, str]:
    """Name to kind, sorted by name."""
    return dict(sorted((record.name, record.kind) for view in views for record in view.records(Media)))


def next_steps(views: Iterable[JournalView]) -> dict[str, int]:
    """For a resumed run: the next step of each name, for media that are logged without one."""
    found: dict[str, int] = {}
    for record in (record for view in views for record in view.records(Media)):
        found[record.name] = max(found.get(record.name, 0), record.step + 1)
    return found


def items(run_folder: Path, views: Sequence[JournalView], name: str | None) -> list[MediaItem]:
    """The media of one name, or all, by step; superseded ones left out."""
    found = [
        MediaItem(record, run_folder, view.started.rank, view.started.branch)
        for view in views if view.started
        for record in view.records(Media) if name in (None, record.name)
    ]  # fmt: skip
    if any(item.branch for item in found):
        found = _without_superseded(found, views)
    return sorted(found, key=lambda item: (item.name, item.step, item.rank, item.record.time, item.record.index))


def _without_superseded(found: Sequence[MediaItem], views: Sequence[JournalView]) -> list[MediaItem]:
    """Without the media of steps that a later branch trained again."""
    resumed: dict[int, int] = {}
    for (branch, _), step in resume_steps(views).items():
        resumed[branch] = min(step, resumed.get(branch, step))
    first: dict[tuple[str, int, int], int] = {}
    for item in found:
        key = item.name, item.rank, item.branch
        first[key] = min(item.step, first.get(key, item.step))
    branches = sorted({*resumed, *(item.branch for item in found)})

    def stays(item: MediaItem) -> bool:
        for later in (branch for branch in branches if branch > item.branch):
            cuts = [first.get((item.name, item.rank, later))]
            if item.record.stage not in REPEATED_STAGES:
                cuts.append(resumed.get(later))
            if any(cut is not None and item.step >= cut for cut in cuts):
                return False
        return True

    return [item for item in found if stays(item)]
