"""A stand-in for a Weights & Biases server on loopback: what its real client needs of it."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "tester"


class WandbServer(ThreadingHTTPServer):
    """Keeps runs in memory: name to config, history lines and exit code."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, dict[str, Any]] = {}
        self.unknown: list[str] = []
        """Questions that got no answer of their own."""

    @property
    def url(self) -> str:
        """What WANDB_BASE_URL is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def history(self, run: str) -> list[dict[str, Any]]:
        """The rows of a run, as the server has them."""
        return [json.loads(line) for line in self.runs[run]["history"]]

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data for one GraphQL question."""
        if "RunResumeStatus" in query:
            return {"model": {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": ENTITY},
                              "bucket": self._bucket(variables["name"])}}  # fmt: skip
        if "upsertBucket" in query:
            run = self.runs.setdefault(variables["name"], {"history": [], "config": {}, "exit": None})
            run["config"] = json.loads(variables.get("config") or "{}") or run["config"]
            project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": ENTITY}}
            bucket = {**(self._bucket(variables["name"]) or {}), "project": project, "sweepName": None}
            return {"upsertBucket": {"bucket": bucket, "inserted": not run["history"]}}
        if "serverInfo" in query:
            return {"serverInfo": {"features": [], "cliVersionInfo": {"max_cli_version": "1.0"}}}
        if "viewer" in query:
            teams: dict[str, Any] = {"edges": []}
            return {
                "viewer": {"id": "u", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": teams}
            }
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        self.unknown.append(query.split("(", maxsplit=1)[0].strip())
        return {}

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

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """Take in one part of the file stream: lines at an offset replace what was there."""
        part = (body.get("files") or {}).get("wandb-history.jsonl")
        if part is not None:
            self.runs[run]["history"][part["offset"] :] = part["content"]
        if body.get("complete"):
            self.runs[run]["exit"] = body.get("exitcode")


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def _body(self) -> bytes:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

    def do_POST(self) -> None:
        body = self._body()
        answer: dict[str, Any] = {}
        if self.path.endswith("/graphql"):
            question = json.loads(body)
            answer = {"data": self.server.answer(question["query"], question.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            self.server.stream(self.path.split("/")[-2], json.loads(body))
        self._send(answer)

    def do_PUT(self) -> None:
        self._body()
        self._send({})

    def do_GET(self) -> None:
        self._send({})

    def _send(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A running stand-in, gone afterwards."""
    with WandbServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
