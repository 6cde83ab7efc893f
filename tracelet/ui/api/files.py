"""/api/runs/ID/artifacts: downloads of a run's files. Serves only files inside the run's folder."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response

from tracelet.errors import RunNotFound
from tracelet.journal.records import Artifact
from tracelet.store.artifacts import DIGEST, manifest, object_path
from tracelet.ui.api.responses import Json, download
from tracelet.ui.run_cache import RunCache


class FilesApi:
    """Serves files."""

    def __init__(self, run_cache: RunCache) -> None:
        self.run_cache = run_cache

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["artifacts"])
        router.add_api_route("/runs/{run_id}/artifacts", self.listed, methods=["GET"])
        router.add_api_route("/runs/{run_id}/artifacts/{number}", self.file, methods=["GET"])
        return router

    def _artifact(self, run_id: str, number: int) -> tuple[Path, Artifact]:
        with self.run_cache.open(run_id) as run:
            artifacts = run.artifacts
        if not 0 <= number < len(artifacts):
            raise RunNotFound(f"run {run_id} has no artifact {number}")
        return self.run_cache.path(run_id), artifacts[number]

    def listed(self, run_id: str) -> Response:
        """The artifacts in logging order; for folders with the list of their files."""
        with self.run_cache.open(run_id) as run:
            found = [
                {"number": number, "name": artifact.name, "kind": artifact.kind, "size": artifact.size,
                 "files": _files(run.path, artifact)}
                for number, artifact in enumerate(run.artifacts)
            ]  # fmt: skip
        return Json({"artifacts": found})

    def file(self, run_id: str, number: int, name: str = "") -> Response:
        """One file: the artifact, or the file `name` in an artifact folder. Always sent as a download."""
        folder, artifact = self._artifact(run_id, number)
        if artifact.digest:
            entries = _entries(folder, artifact)
            key = name or artifact.name
            if key not in entries or not DIGEST.fullmatch(entries[key][0]):
                raise RunNotFound(f"the artifact {artifact.name!r} has no file {name[:200]!r}")
            return _inside(folder, object_path(folder, entries[key][0]), key)
        return _inside(folder, Path(artifact.path), artifact.name)


def _entries(folder: Path, artifact: Artifact) -> dict[str, tuple[str, int]]:
    if not DIGEST.fullmatch(artifact.digest):
        raise RunNotFound(f"the artifact {artifact.name!r} has an invalid digest")
    try:
        return manifest(folder, artifact)
    except (OSError, ValueError) as error:
        raise RunNotFound(f"the files of {artifact.name!r} cannot be listed: {error}") from error


def _files(folder: Path, artifact: Artifact) -> list[str]:
    if not artifact.digest or not artifact.metadata.get("folder"):
        return []
    try:
        return sorted(_entries(folder, artifact))
    except RunNotFound:
        return []


def _inside(folder: Path, path: Path, name: str) -> Response:
    """The file, if it is in the run's folder after resolving all links; otherwise refused."""
    try:
        real = path.resolve(strict=True)
    except (OSError, ValueError) as error:
        raise RunNotFound(f"the file of {name!r} no longer exists") from error
    if not real.is_relative_to(folder.resolve()) or not real.is_file():
        raise RunNotFound(f"{name!r} is outside the run's folder and is not served. It is at {str(path)[:300]}")
    return download(real, Path(name).name or "file")
