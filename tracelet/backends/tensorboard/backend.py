"""The `tensorboard` backend: event files with the original steps and times, the hparams plugin, texts.

Called by a courier on its thread; needs the package `tensorboard` and neither torch nor TensorFlow. Every `open` starts
a new file beside the earlier ones and never writes to those again, because a crash may have torn their ends.
"""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tracelet.backends.artifact_files import resolve_path
from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.backends.health_checks import check_writable, require_package
from tracelet.errors import Misconfigured, Unavailable, install_command
from tracelet.journal.records import Scalar

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

FIX = "backend={'tensorboard': {'log_dir': 'FOLDER'}}"
PREFIX = "events.out.tfevents."
MAX_TEXT_LENGTH = 100_000
"""Characters of one text: TensorBoard shows it all on one page."""

EventIdentity = tuple[str, int, float, bytes]


@dataclass(frozen=True)
class TensorboardOptions:
    """Settings of the backend `tensorboard`."""

    log_dir: str = ""
    """Folder for the event files, written to PROJECT/NAME-ID in it. If empty, `tensorboard` in the store."""


class TensorboardBackend:
    """Writes each batch completely, or not at all."""

    name: ClassVar[str] = "tensorboard"
    options: ClassVar[type] = TensorboardOptions
    extra: ClassVar[str] = "tensorboard"

    def __init__(self, options: TensorboardOptions) -> None:
        self._options = options
        self._folder = Path()
        self._file: io.FileIO | None = None
        self._run: RunDescription | None = None
        self._everything_again = False
        self._params: dict[str, Scalar] = {}

    def check(self) -> str:
        """For `doctor`: whether the package is installed, and the folder is writable."""
        require_package("tensorboard", self.extra)
        return (
            f"files in {check_writable(self._options.log_dir, FIX)}" if self._options.log_dir else "files in the store"
        )

    def open(self, run: RunDescription) -> None:
        """Create the run's folder."""
        try:
            from tensorboard.compat.proto import event_pb2  # noqa: F401  # is it there?
        except ImportError as error:
            fix = f"Type {install_command('tensorboard')}"
            raise Misconfigured(f"TensorBoard cannot be imported ({error})", fix) from error
        root = resolve_path(run, self._options.log_dir, "tensorboard")
        name = "-".join(part for part in (_file_name(run.name), run.id) if part)
        self._folder = root / _file_name(run.project or "default") / name
        earlier = run.memory.get("folder")  # it has the run's earlier name, if that was changed
        if earlier and Path(earlier).resolve().is_relative_to(root.resolve()):
            self._folder = Path(earlier)
        self._run, self._params = run, dict(run.params)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Misconfigured(
                f"{self._folder} cannot be created ({error.strerror})", f"Give another folder: {FIX}"
            ) from error
        lost = "folder" not in run.memory and any(path.stat().st_size for path in self._files())
        self._everything_again = run.repair or lost
        if lost:
            run.found()
        run.remember("folder", str(self._folder))
        run.announce(str(self._folder))

    def write(self, batch: Batch) -> None:
        """Append one event per point, and a text for other records."""
        events = list(_points(batch))
        if batch.again or self._everything_again:
            events = self._missing(events)
        events += _texts(batch)
        if events:
            self._append(events)
        if batch.params:
            self._params.update(batch.params)
            self._write_hparams(None)

    def close(self, outcome: Outcome | None) -> None:
        """Write the run's status and close the file."""
        if outcome is not None and self._run is not None:
            self._write_hparams(outcome)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, events: list[Event]) -> None:
        data = _encode(events)
        try:
            file = self._file or self._create()
            end = os.fstat(file.fileno()).st_size
            try:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) or 0 :]
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), end)  # half a batch would hide what is written behind it
                raise
        except OSError as error:
            raise Unavailable(f"the event file in {self._folder} cannot be written ({error.strerror})") from error

    def _create(self) -> io.FileIO:
        from tensorboard.compat.proto.event_pb2 import Event

        # TensorBoard reads a folder's files in the order of their names and never goes back.
        stamp = max([int(time.time()), *(_event_file_name(path) + 1 for path in self._files())])
        path = self._folder / f"{PREFIX}{stamp:010d}.{socket.gethostname()}.{os.getpid()}.tracelet"
        file = io.FileIO(path, "ab")
        file.write(_encode([Event(wall_time=time.time(), file_version="brain.Event:2")]))
        self._file = file
        return file

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob(f"{PREFIX}*") if _event_file_name(path))

    def _missing(self, events: list[Event]) -> list[Event]:
        """The events that no file has yet. Searches from the newest file backwards while a file has events of the
        batch.
        """
        wanted = Counter(_identity(event) for event in events)
        there: Counter[EventIdentity] = Counter()
        for path in reversed(self._files()):
            found = Counter(mark for mark in identities(path) if mark in wanted)
            if not found and not self._everything_again and path.stat().st_size > len(_encode([])) + 100:
                break
            there += found
        missing = []
        for event in events:
            mark = _identity(event)
            if there[mark]:
                there[mark] -= 1
            else:
                missing.append(event)
        return missing

    def _write_hparams(self, outcome: Outcome | None) -> None:
        """All parameters so far, in a separate file: TensorBoard reads only the first one that it finds."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.plugins.hparams import summary_v2

        assert self._run is not None
        values = {name: value if value is not None else "None" for name, value in self._params.items()}
        found = [summary_v2.hparams_pb(values, trial_id=self._run.id, start_time_secs=self._run.started)]
        found.append(_text_summary("params", _table(values)))
        if outcome is not None:
            found.append(_end_summary(outcome))
            found.append(_text_summary("status", f"{outcome.status} {outcome.reason}".strip()))
        events = [Event(wall_time=self._run.started, file_version="brain.Event:2")]
        events += [Event(wall_time=self._run.started, step=0, summary=one) for one in found]
        target = self._folder / f"{PREFIX}{0:010d}.tracelet.hparams"
        beside = target.with_name(f".{target.name}")
        try:
            beside.write_bytes(_encode(events))
            os.replace(beside, target)
        except OSError as error:
            raise Unavailable(f"{target} cannot be written ({error.strerror})") from error


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name).lstrip(".")[:80]


def _event_file_name(path: Path) -> int:
    digits = path.name[len(PREFIX) :].partition(".")[0]
    return int(digits) if digits.isdigit() else 0


def _encode(events: list[Event]) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()


def _points(batch: Batch) -> Iterator[Event]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    for part in batch.points:
        for step, value, wall_time in zip(part.steps, part.values, part.times):
            summary = Summary(value=[Summary.Value(tag=part.name, simple_value=value)])
            yield Event(wall_time=wall_time, step=step, summary=summary)


def _texts(batch: Batch) -> Iterator[Event]:
    from tensorboard.compat.proto.event_pb2 import Event

    texts: dict[str, tuple[float, str]] = {}
    if batch.tags:
        texts["tags"] = (time.time(), _table(batch.tags))
    for topic, facts in batch.facts.items():
        texts[f"facts/{topic}"] = (time.time(), "```\n" + json.dumps(facts, indent=2, default=str) + "\n```")
    for event in batch.events:
        told = json.dumps(event.attributes, default=str)
        texts[f"events/{event.name}"] = (event.time / 1e6, told)
    for artifact in batch.artifacts:
        texts[f"artifacts/{artifact.name}"] = (artifact.time / 1e6, f"{artifact.path} ({artifact.size} bytes)")
    for tag, (wall_time, text) in texts.items():
        yield Event(wall_time=wall_time, step=0, summary=_text_summary(tag, text))


def _text_summary(tag: str, text: str) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text import metadata

    content = text[:MAX_TEXT_LENGTH].encode("utf-8", "replace")
    tensor = TensorProto(dtype=DT_STRING, string_val=[content], tensor_shape=TensorShapeProto())
    about = metadata.create_summary_metadata(display_name=None, description=None)
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=tensor)])


def _end_summary(outcome: Outcome) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_SUCCESS if outcome.status == "finished" else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=outcome.ended)
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in values.items()]
    return "\n".join(["| name | value |", "|---|---|", *rows])


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _identity(event: Event) -> EventIdentity:
    value = event.summary.value[0]
    return value.tag, event.step, event.wall_time, struct.pack("<f", value.simple_value)  # NaN equals itself as bytes


def identities(path: Path) -> Iterator[EventIdentity]:
    """The identity of each scalar in an event file."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    for raw in RawEventFileLoader(str(path)).Load():
        event = Event.FromString(raw)
        if event.summary.value and event.summary.value[0].HasField("simple_value"):
            yield _identity(event)
