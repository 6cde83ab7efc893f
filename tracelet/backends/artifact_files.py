"""Local paths for backends: copied artifacts under their original names, for SDKs that upload a path, and paths in
options.

Used by concrete backends, on the courier's thread. Links, never copies: an artifact may be larger than the free disk.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tracelet.backends.base import RunDescription
from tracelet.backends.legal_names import CONTROL, legal_name, trace
from tracelet.journal.records import Artifact
from tracelet.store.artifacts import manifest, object_path

INVALID_NAME_ERRORS = frozenset({errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL})
"""Errors that a damaged list of files can cause, such as `a` beside `a/b`."""

LONGEST_PART = 255
"""Characters; no file system takes longer names."""


@contextmanager
def link_tree(run: RunDescription, artifact: Artifact) -> Iterator[Path]:
    """A temporary folder that holds the artifact: a link to its file, or a tree of links.

    FileNotFoundError if it is missing or cannot be laid out, which would fail again.
    """
    files = artifact_paths(run, artifact)
    with tempfile.TemporaryDirectory(prefix="tracelet-") as temporary:
        root = Path(temporary)
        inner = root / safe_path(artifact.name) if artifact.metadata.get("folder") else root
        try:
            for name, source in files.items():
                link = inner / safe_path(name)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(source)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in INVALID_NAME_ERRORS:
                raise
            raise FileNotFoundError(errno.ENOENT, f"its names cannot be used ({error})", artifact.name) from error
        yield root


def artifact_paths(run: RunDescription, artifact: Artifact) -> dict[str, Path]:
    """The files of a copied artifact, by name. FileNotFoundError if one is missing, or their list is damaged."""
    folder = run.artifacts_folder.parent
    try:
        found = {name: object_path(folder, digest) for name, (digest, _) in manifest(folder, artifact).items()}
    except ValueError as error:
        raise FileNotFoundError(errno.ENOENT, str(error), artifact.name) from error
    for path in found.values():
        path.stat()  # some SDKs would silently skip a dangling link
    return found


def resolve_path(run: RunDescription, given: str, *default: str) -> Path:
    """The absolute path of an option, relative to the training's folder; if the option is empty, a path in
    the store.
    """
    path = Path(given).expanduser() if given else run.store.joinpath(*default)
    return path if path.is_absolute() else Path(run.folder) / path


def safe_path(name: str) -> PurePosixPath:
    """The name as a path that stays below its folder; no two names become the same path."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")] or ["artifact"]
    plain = [legal_name(part, CONTROL, LONGEST_PART) for part in parts]
    if "/".join(parts) != name:
        plain[-1] = f"{plain[-1]}-{trace(name)}"
    return PurePosixPath(*plain)
