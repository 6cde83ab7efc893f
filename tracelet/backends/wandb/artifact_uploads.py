"""Artifacts of a run in Weights & Biases: passed to the SDK, and tracked until the server, or its file, has them.

Used by the `wandb` backend on the courier's thread. The SDK's own process uploads the files directly from the store,
beside the points: nothing is copied, no file is read into memory, and a large one delays nothing.

The SDK reports the end of an upload only to a caller that waits for it, and cancels the upload if the wait times out.
So a thread waits for each, and ends with the upload or with the SDK's process.
"""

from __future__ import annotations

import inspect
import re
import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tracelet.backends.artifact_files import artifact_paths
from tracelet.backends.base import RunDescription
from tracelet.backends.legal_names import legal_name
from tracelet.backends.wandb.sdk_session import first_line
from tracelet.guard import attempt
from tracelet.journal.records import Artifact

if TYPE_CHECKING:
    from wandb import Run

INVALID_IN_NAMES = re.compile(r"[^\w.\-]", re.ASCII)
INVALID_IN_ALIASES = re.compile(r"[/:,\s]|[^ -~]")
MAX_NAME_LENGTH = 120
REFUSED = re.compile(r"\b4(?!08|29)\d\d\b")
"""Parts of a response that a retry would repeat; others (5xx, timeouts) are retried."""
RETRY_INTERVAL = 5.0
"""Seconds before a failed upload is started again; the SDK has already retried for a long time."""
PASSING = re.compile(r"\b(?:408|429|50[0234])\b|time[d ]*out|connect|refused|reset|EOF|abandon", re.IGNORECASE)
"""What an outage says."""
MAX_FAILURES = 5
"""How often an upload may fail in a way that nobody knows."""
MEMORY = "artifacts"


class ArtifactUploads:
    """Artifacts that are logged and not confirmed. Call `log()` for each artifact, `settle()` periodically."""

    def __init__(self, run: Run, described: RunDescription, offline: bool) -> None:
        self._run, self._described, self._offline = run, described, offline
        self._waiting: dict[str, _Upload] = {}
        self._unconfirmed: dict[str, Any] = dict(described.memory.get(MEMORY) or {})
        self._failures: Counter[str] = Counter()
        self.refused: list[tuple[Artifact, str]] = []
        """Artifacts that the server refuses, and why."""

    def resume(self) -> None:
        """Log again what an earlier courier has passed on and not seen confirmed."""
        for value in list(self._unconfirmed.values()):
            self.log(msgspec.convert(value, Artifact))

    def log(self, artifact: Artifact, confirmed: Collection[tuple[str, str]] = ()) -> None:
        """Pass it to the SDK, unless the server has it. FileNotFoundError if its copy is missing."""
        key = f"{artifact.name}:{artifact.digest or artifact.time}"
        if key in self._waiting:
            return
        try:
            wandb_artifact, aliases = self._make_artifact(artifact)
        except FileNotFoundError as error:
            self._drop([key])
            self.refused.append((artifact, f"its copy no longer exists ({error.filename})"))
            return
        if (wandb_artifact.name, wandb_artifact.digest) in confirmed:
            return
        self._unconfirmed[key] = msgspec.to_builtins(artifact)
        self._described.remember(MEMORY, self._unconfirmed)
        self._waiting[key] = _Upload(self._run.log_artifact(wandb_artifact, aliases=aliases), start=not self._offline)

    def drop_confirmed(self, confirmed: Collection[tuple[str, str]]) -> bool:
        """Forget confirmed artifacts: uploaded (online) or in the SDK's file (offline). Whether none is left."""
        over = []
        for key, upload in self._waiting.items():
            if upload.identity in confirmed if self._offline else self._has_arrived(key, upload):
                over.append(key)
        for key in over:
            del self._waiting[key]
        self._drop(over)
        return not self._waiting

    def memory(self) -> dict[str, Any]:
        """The state to store."""
        return {MEMORY: self._unconfirmed}

    def _drop(self, keys: list[str]) -> None:
        known = [key for key in keys if self._unconfirmed.pop(key, None) is not None]
        if known:
            self._described.remember(MEMORY, self._unconfirmed)

    def _has_arrived(self, key: str, upload: _Upload) -> bool:
        if upload.is_alive():
            return False
        if upload.arrived:
            return True
        artifact = msgspec.convert(self._unconfirmed[key], Artifact)
        if not (upload.counted or PASSING.search(upload.why)):
            upload.counted = True
            self._failures[key] += 1
        if REFUSED.search(upload.why) or self._failures[key] >= MAX_FAILURES:
            self.refused.append((artifact, upload.why))
            return True
        if time.monotonic() - upload.began > RETRY_INTERVAL:
            wandb_artifact, aliases = self._make_artifact(artifact)
            self._waiting[key] = _Upload(self._run.log_artifact(wandb_artifact, aliases=aliases))
        return False

    def _make_artifact(self, artifact: Artifact) -> tuple[Any, list[str]]:
        import wandb

        metadata = {**artifact.metadata, "path": artifact.path, "size": artifact.size}
        if not artifact.digest:
            return self._reference(artifact, metadata)
        name = legal_name(artifact.name, INVALID_IN_NAMES, MAX_NAME_LENGTH, "-")
        wandb_artifact = wandb.Artifact(name, artifact.kind or "file", metadata=metadata)
        known = inspect.signature(wandb_artifact.add_file).parameters
        # Content addressed, so it never changes: no copy is needed, and `wandb sync` finds it later. Old versions copy.
        more: dict[str, Any] = {"policy": "immutable", "skip_cache": True}
        more = {option: value for option, value in more.items() if option in known}
        for name, path in artifact_paths(self._described, artifact).items():
            wandb_artifact.add_file(str(path), name=name, **more)
        return wandb_artifact, ["latest"]

    def _reference(self, artifact: Artifact, metadata: dict[str, Any]) -> tuple[Any, list[str]]:
        """A file that stays in place. The references of a run are versions of one artifact, named after the file.

        The SDK looks up files that it references; ours may be on another machine by now, or deleted.
        """
        import wandb
        from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

        kind = artifact.kind or "file"
        wandb_artifact = wandb.Artifact(
            legal_name(f"{kind}-{self._described.id}", INVALID_IN_NAMES, MAX_NAME_LENGTH, "-"), kind, metadata=metadata
        )
        where = Path(artifact.path).as_uri() if Path(artifact.path).is_absolute() else artifact.path
        entry: Any = ArtifactManifestEntry
        version = f"{where}#{artifact.time}"  # a file that was overwritten is another version
        wandb_artifact.manifest.add_entry(entry(path=artifact.name, ref=where, digest=version, size=artifact.size))
        return wandb_artifact, ["latest", legal_name(artifact.name, INVALID_IN_ALIASES, MAX_NAME_LENGTH, "-")]


class _Upload(threading.Thread):
    """Waits for one upload."""

    def __init__(self, wandb_artifact: Any, start: bool = True) -> None:
        super().__init__(name="tracelet-wandb-upload", daemon=True)
        self.identity: tuple[str, str] = (wandb_artifact.name, wandb_artifact.digest)
        self.arrived = self.counted = False
        self.why = ""
        self.began = time.monotonic()
        self._artifact = wandb_artifact
        if start:
            self.start()

    def run(self) -> None:
        """Wait, and record the result. Whatever the SDK raises is a failed upload: it ends waits in many ways."""
        self.arrived = attempt(self._wait, self._record_failure)

    def _wait(self) -> bool:
        self._artifact.wait()
        return True

    def _record_failure(self, error: Exception) -> bool:
        self.why = first_line(error) or type(error).__name__
        return False
