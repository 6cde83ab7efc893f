"""Files that are copied into a run: content addressed, so the same bytes are kept once however often they are logged.

    RUN/artifacts/ab/abcdef...     the bytes of a file, named by their BLAKE2b digest
                                   (of a folder: its manifest, a JSON object of relative path to [digest, size])

Used by `Experiment.log_artifact` on the user's thread: copying streams, so memory stays flat whatever the size.
A copy is complete under its name or not there: it is written beside and renamed. It has the mode of the original, as
far as the umask allows it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from tracelet.errors import ArtifactNotFound
from tracelet.journal.records import Artifact, Event
from tracelet.media.content_folder import ContentFolder

FOLDER = "artifacts"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""The disk is full, or this user's quota; deleting files does not fix other errors."""
DIGEST_SIZE = 20
"""160 bits: no two files of a run will ever share a name by chance."""

DIGEST = re.compile(rf"[0-9a-f]{{{2 * DIGEST_SIZE}}}")
_manifests = msgspec.json.Decoder(dict[str, tuple[str, int]])


def contents(run_folder: Path) -> ContentFolder:
    """The copied files of a run."""
    return ContentFolder(run_folder / FOLDER, partial(hashlib.blake2b, digest_size=DIGEST_SIZE))


def object_path(run_folder: Path, digest: str) -> Path:
    """Where the bytes with this digest lie. FileNotFoundError if it is none: it may stand in a journal like that."""
    return contents(run_folder).path(digest)


def store_artifact(
    run_folder: Path, path: str | os.PathLike[str], name: str | None, kind: str | None, time: int
) -> Artifact:
    """Copy a file or a folder into the run and describe it. ArtifactNotFound if it is not there; OSError by copying."""
    source = Path(path).expanduser()
    try:
        mode = source.stat().st_mode
    except OSError as error:
        raise ArtifactNotFound(
            f"no file or folder at {os.fspath(path)!r} (working directory: {os.getcwd()}). Nothing was recorded; "
            "call log_artifact after the file is written"
        ) from error
    title = name or source.absolute().name
    where = str(source.absolute())
    if stat.S_ISDIR(mode):
        digest, size, counts = _store_folder(run_folder, source)
        return Artifact(time=time, name=title, path=where, kind=kind or "folder", size=size, digest=digest,
                        metadata={"folder": True, **counts})  # fmt: skip
    if not stat.S_ISREG(mode):
        raise ArtifactNotFound(f"{os.fspath(path)!r} is neither a file nor a folder; nothing was recorded")
    digest, size = contents(run_folder).put_file(source)
    return Artifact(time=time, name=title, path=where, kind=kind or "file", size=size, digest=digest)


def manifest(run_folder: Path, artifact: Artifact) -> dict[str, tuple[str, int]]:
    """The files of an artifact that was copied: relative path to (digest, size). A single file goes by its name.

    OSError or ValueError when the list of a folder's files is not there or is none.
    """
    if not artifact.metadata.get("folder"):
        return {artifact.name: (artifact.digest, artifact.size)}
    try:
        return _manifests.decode(object_path(run_folder, artifact.digest).read_bytes())
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"the file list of {artifact.name!r} is damaged: {error}") from None


def _store_folder(run_folder: Path, source: Path) -> tuple[str, int, dict[str, int]]:
    entries: dict[str, tuple[str, int]] = {}
    left_out, folder = 0, contents(run_folder)
    for path in _files(source, without=run_folder.parent.parent.resolve()):
        if path.is_file():
            entries[path.relative_to(source).as_posix()] = folder.put_file(path)
        else:
            left_out += 1
    body = json.dumps(entries, sort_keys=True).encode()
    digest = contents(run_folder).put(body, source.stat().st_mode & 0o666)
    counts = {"files": len(entries), "left_out": left_out}
    return digest, sum(size for _, size in entries.values()), {name: n for name, n in counts.items() if n}


def _files(source: Path, without: Path) -> Iterator[Path]:
    """What is no folder, below and in a fixed order, the store that we copy into excepted.

    Linked folders are not followed: they may lead out, or round and round.
    """
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if Path(folder, name).resolve() != without)
        yield from (Path(folder, name) for name in sorted(names))


def replaced_references(found: Sequence[Artifact], removals: Iterable[Event]) -> set[int]:
    """Places of the references whose file is no more what it was: removed since, or written over by a later one."""
    removed = {event.attributes.get("path"): event.time for event in removals}
    latest = {artifact.path: place for place, artifact in enumerate(found) if not artifact.digest}
    return {
        place
        for place, artifact in enumerate(found)
        if not artifact.digest and (latest[artifact.path] != place or removed.get(artifact.path, -1) >= artifact.time)
    }


def fix_for(error: OSError) -> str:
    """How to fix an artifact that could not be copied."""
    if error.errno in DISK_FULL:
        return "free some space"
    if isinstance(error, PermissionError):
        return f"allow this user to use {error.filename or 'the file and the store'}"
    return "check that the file and the store are reachable"
