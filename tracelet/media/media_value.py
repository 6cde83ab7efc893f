"""What every kind of media has in common: the value that a program logs, its snapshot, and its encoded form.

A program makes a `MediaValue`. Logging takes its `snapshot` on the program's thread: a copy that no later change of the
program reaches, made in microseconds. The recorder's thread turns the snapshot into `Encoded` bytes. Makers of values
raise `InvalidMedia`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Union

from tracelet.errors import InvalidMedia
from tracelet.media.content_folder import ContentFolder

MAX_CAPTION = 10_000
"""Characters; a caption is in the journal, and pages show it whole."""


@dataclass(frozen=True)
class Stored:
    """Bytes that are in the run's folder already: a file that was copied when it was logged."""

    digest: str
    size: int


Content = Union[bytes, Stored]


@dataclass(frozen=True)
class Encoded:
    """The bytes of one media value, and the description that its record gets."""

    kind: str
    format: str
    content: Content
    width: int = 0
    height: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    attached: tuple[bytes, ...] = ()
    """Further contents, which `extra` names by their digest: masks, and media in the cells of a table."""
    remark: str = ""
    """Something that the user should know about the recorded form, reported once for each name."""


class Snapshot(Protocol):
    """A copy of a value, as it was when it was logged."""

    @property
    def nbytes(self) -> int:
        """The memory that it holds."""

    def encode(self) -> Encoded:
        """The bytes; called once, on the recorder's thread. Raises `InvalidMedia`."""


class MediaValue:
    """The base class of `tracelet.Image`, `tracelet.Figure`, ..."""

    kind: ClassVar[str] = ""

    def __init__(self, caption: str = "") -> None:
        if not isinstance(caption, str):
            raise InvalidMedia(f"caption is {type(caption).__name__}, not a string; e.g. caption='epoch 3'")
        self.caption = caption[:MAX_CAPTION]

    def snapshot(self, folder: ContentFolder) -> Snapshot:
        """Copy the value, on the program's thread; files are copied into `folder`. Raises `InvalidMedia` or OSError."""
        raise NotImplementedError

    def parts(self) -> list[MediaValue]:
        """The single values of which this one consists: itself, or the images of a batch."""
        return [self]


@dataclass(frozen=True)
class Ready:
    """A snapshot of what needs no encoding."""

    encoded: Encoded

    @property
    def nbytes(self) -> int:
        """The memory of its bytes."""
        content = self.encoded.content
        return len(content) if isinstance(content, bytes) else 0

    def encode(self) -> Encoded:
        """The bytes."""
        return self.encoded


def file_path(data: Any) -> Path | None:
    """The path that a program gave instead of a value; None if it gave a value. Raises `InvalidMedia`."""
    if not isinstance(data, (str, Path)) and not hasattr(data, "__fspath__"):
        return None
    path = Path(data).expanduser()
    if not path.is_file():
        raise InvalidMedia(f"there is no file at {str(path)[:200]!r}; log it after it is written")
    return path
