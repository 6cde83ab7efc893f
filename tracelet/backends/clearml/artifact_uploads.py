"""Uploads artifacts to ClearML: files, folders as archives, and references to files that stay in place.

Used by the `clearml` backend on the courier's thread. Files are streamed from the store; for a folder the SDK first
creates an archive in the temporary folder. Nothing is read into memory whole.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

from tracelet.backends.artifact_files import link_tree, safe_path
from tracelet.backends.base import RunDescription
from tracelet.errors import Unexplained
from tracelet.journal.records import Artifact
from tracelet.store.artifacts import manifest

MAX_SHOWN = 100
"""Files of a folder that the artifact's preview lists."""


def upload(task: Any, run: RunDescription, artifact: Artifact) -> bool:
    """Give the artifact to the task; False if its copy is missing. The SDK's errors pass: the server may be down."""
    about = {"path": artifact.path, "kind": artifact.kind, **artifact.metadata}
    if not artifact.digest:
        return _register_reference(task, artifact, about)
    try:
        with link_tree(run, artifact) as folder:
            taken = task.upload_artifact(
                artifact.name, folder / safe_path(artifact.name), metadata=about, preview=_preview(run, artifact),
                wait_on_upload=True, auto_pickle=False,
            )  # fmt: skip
    except FileNotFoundError:
        return False
    # The SDK ignores a server that did not register the upload.
    if not taken or artifact.name not in {one.key for one in task.data.execution.artifacts or ()}:
        raise Unexplained(f"ClearML rejected the artifact {artifact.name}")
    return True


def _preview(run: RunDescription, artifact: Artifact) -> str:
    """The content of the archive or file; the SDK would show the name of a temporary folder."""
    files = manifest(run.artifacts_folder.parent, artifact)
    lines = [f"{name} - {size:,} bytes" for name, (_, size) in list(files.items())[:MAX_SHOWN]]
    more = len(files) - len(lines)
    return "\n".join([*lines, f"... and {more:,} more"] if more else lines)


def _register_reference(task: Any, artifact: Artifact, about: dict[str, Any]) -> bool:
    """An entry with the file's location, as ClearML itself registers models that it does not upload."""
    from clearml.backend_api.services import tasks

    where = Path(artifact.path).as_uri() if Path(artifact.path).is_absolute() else artifact.path
    entry = tasks.Artifact(
        key=artifact.name, type="custom", uri=where, content_size=artifact.size, timestamp=artifact.time // 1_000_000,
        type_data=tasks.ArtifactTypeData(
            preview=artifact.path, content_type=mimetypes.guess_type(artifact.name)[0] or "application/octet-stream"
        ),
        display_data=[(str(name), str(value)) for name, value in about.items()],
    )  # fmt: skip
    if task._add_artifacts([entry]) is None:
        raise Unexplained(f"ClearML rejected the reference to {artifact.name}")
    return True
