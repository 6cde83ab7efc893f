"""A stand-in for a Weights & Biases server on loopback: what its real client needs of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.servers.stand_in import StandIn, serving

ENTITY = "tester"
COMMITTED = "COMMITTED"


class WandbServer(StandIn):
    """Keeps runs in memory: name to config, history lines and exit code; artifacts by id, their files by digest."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        """Id to collection, type, metadata, aliases, digest, state and manifest, in the order they were logged."""
        self.unknown: list[str] = []
        """Questions that got no answer of their own."""

    def history(self, run: str) -> list[dict[str, Any]]:
        """The rows of a run, as the server has them."""
        return [json.loads(line) for line in self.runs[run]["history"]]

    def committed(self) -> list[dict[str, Any]]:
        """The artifacts that are whole, with the `entries` of their manifests."""
        whole = [one for one in self.artifacts.values() if one["state"] == COMMITTED]
        return [{**one, "entries": self._manifest(one)["contents"]} for one in whole]

    def content(self, entry: dict[str, Any]) -> bytes:
        """The bytes of an entry of a manifest."""
        return self.files["/upload/md5/" + base64.b64decode(entry["digest"]).hex()]

    def _manifest(self, artifact: dict[str, Any]) -> dict[str, Any]:
        return dict(json.loads(self.files[f"/upload/manifest/{artifact['manifest']}"]))

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """The data for one GraphQL question."""
        if "RunResumeStatus" in query:
            return {"model": {**_project(given["project"]), "bucket": self._bucket(given["name"])}}
        if "upsertBucket" in query:
            return self._upsert(given)
        if "serverInfo" in query:
            return {"serverInfo": {"features": [], "cliVersionInfo": {"max_cli_version": "1.0"}}}
        if "viewer" in query:
            teams: dict[str, Any] = {"edges": []}
            viewer = {"id": "u", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": teams}
            return {"viewer": viewer}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if "project(name" in query:
            return {"project": {"artifact": None, "artifactType": None}}  # no artifact of this name is known
        for word, method in ANSWERS.items():
            if f"{word}(" in query:
                return {word: method(self, given)}
        self.unknown.append(query.split("(", maxsplit=1)[0].strip())
        return {}

    def _upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(given["name"], {"history": [], "config": {}, "exit": None})
        run["config"] = json.loads(given.get("config") or "{}") or run["config"]
        told = {"group": given.get("groupName"), "job_type": given.get("jobType"), "tags": given.get("tags")}
        run.update({name: value for name, value in told.items() if value})
        bucket = {**(self._bucket(given["name"]) or {}), "project": _project(given["project"]), "sweepName": None}
        return {"upsertBucket": {"bucket": bucket, "inserted": not run["history"]}}

    def _bucket(self, name: str) -> dict[str, Any] | None:
        run = self.runs.get(name)
        if run is None:
            return None
        return {
            "id": f"id-{name}", "name": name, "displayName": name, "description": "", "summaryMetrics": "{}",
            "logLineCount": 0, "historyLineCount": len(run["history"]), "eventsLineCount": 0, "eventsTail": "[]",
            "historyTail": json.dumps(run["history"][-1:]), "config": json.dumps(run["config"]), "tags": [],
            "notes": "", "wandbConfig": '{"t": 1}',
        }  # fmt: skip

    def _create(self, given: dict[str, Any]) -> dict[str, Any]:
        asked = given["input"]
        (collection,) = asked.get("artifactCollectionNames") or [asked["artifactCollectionName"]]
        key = f"{collection}:{asked['digest']}"
        known = self.artifacts.setdefault(key, {
            "collection": collection, "type": asked["artifactTypeName"], "digest": asked["digest"],
            "metadata": json.loads(asked.get("metadata") or "{}"), "state": "PENDING", "manifest": "", "aliases": [],
        })  # fmt: skip
        known["aliases"] = [alias["alias"] for alias in asked.get("aliases") or ()]
        return {"artifact": {"id": key, "state": known["state"], "artifactSequence": {"latestArtifact": None}}}

    def _create_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        number = f"{list(self.artifacts).index(given['artifactID'])}"
        self.artifacts[given["artifactID"]]["manifest"] = number
        return self._place(number)

    def _update_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        return self._place(given["artifactManifestID"])

    def _place(self, number: str) -> dict[str, Any]:
        file = {"id": f"f{number}", "uploadUrl": f"{self.url}/upload/manifest/{number}", "uploadHeaders": []}
        return {"artifactManifest": {"id": number, "file": file}}

    def _create_files(self, given: dict[str, Any]) -> dict[str, Any]:
        nodes = [
            {
                "storagePath": "md5/" + one["md5"], "artifact": {"id": one["artifactID"]}, "uploadHeaders": [],
                "uploadUrl": f"{self.url}/upload/md5/{base64.b64decode(one['md5']).hex()}",
                "uploadMultipartUrls": None,
            }
            for one in given["input"]["artifactFiles"]
        ]  # fmt: skip
        return {"files": {"edges": [{"node": node} for node in nodes]}}

    def _commit(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[given["artifactID"]]
        artifact["state"] = COMMITTED
        return {"artifact": {"id": given["artifactID"], "digest": artifact["digest"]}}

    def _artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[given["id"]]
        where = {"__typename": "ArtifactSequence", "name": artifact["collection"], "project": _project("conformance")}
        return {
            "__typename": "Artifact", "id": given["id"], "artifactSequence": where, "versionIndex": 0,
            "artifactType": {"name": artifact["type"]}, "metadata": json.dumps(artifact["metadata"]), "tags": [],
            "state": artifact["state"], "size": 0, "digest": artifact["digest"], "commitHash": "c", "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00", "updatedAt": None, "aliases": [], "description": None,
            "ttlDurationSeconds": -2, "ttlIsInherited": True, "historyStep": None, "digestAlgorithm": "MANIFEST_MD5",
        }  # fmt: skip

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """Take in one part of the file stream: lines at an offset replace what was there."""
        part = (body.get("files") or {}).get("wandb-history.jsonl")
        if part is not None:
            self.runs[run]["history"][part["offset"] :] = part["content"]
        if body.get("complete"):
            self.runs[run]["exit"] = body.get("exitcode")

    def reply(self, method: str, path: str, body: bytes) -> object:
        """Answer questions, take in files and streams."""
        if path.endswith("/graphql"):
            question = json.loads(body)
            return {"data": self.answer(question["query"], question.get("variables") or {})}
        if path.endswith("/file_stream"):
            self.stream(path.split("/")[-2], json.loads(body))
        elif method == "PUT":
            self.files[path] = body
        return {}


ANSWERS = {
    "createArtifactManifest": WandbServer._create_manifest, "updateArtifactManifest": WandbServer._update_manifest,
    "createArtifactFiles": WandbServer._create_files, "commitArtifact": WandbServer._commit,
    "createArtifact": WandbServer._create, "artifact": WandbServer._artifact,
}  # fmt: skip
"""What is asked for, to what does it."""


def _project(name: str) -> dict[str, Any]:
    return {"id": "p", "internalId": "1", "name": name, "entity": {"id": "e", "name": ENTITY}}


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A running stand-in, gone afterwards."""
    with serving(WandbServer()) as server:
        yield server
