"""A stand-in for a ClearML server on loopback: what its real client needs of the API."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def _token() -> str:
    parts = {"alg": "HS256", "typ": "JWT"}, {"exp": int(time.time()) + 86400, "identity": {}, "api_version": "2.23"}
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


class ClearmlServer(ThreadingHTTPServer):
    """Tasks by id, and their scalars."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tasks: dict[str, dict[str, Any]] = {}
        self.events: dict[tuple[Any, ...], dict[str, Any]] = {}
        """By task, title, series and iteration: the real server keeps one of each, too."""
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """The API host."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, verb: str, given: dict[str, Any]) -> dict[str, Any]:
        """The data of one answer; an unknown verb gets an empty one."""
        task = self.tasks.get(str(given.get("task")))
        if verb == "auth.login":
            return {"token": _token()}
        if verb == "tasks.create":
            known = f"{len(self.tasks):032x}"
            self.tasks[known] = {"id": known, "status": "created", "type": "training", **given}
            return {"id": known}
        if verb in ("tasks.get_by_id", "tasks.get_all", "tasks.get_all_ex"):
            return self._found(given, task, single=verb == "tasks.get_by_id")
        if verb in ("projects.get_all", "projects.get_all_ex"):
            return {"projects": [{"id": "p", "name": given.get("name", "").strip("^$")}]}
        if task is not None and verb in ("tasks.edit", "tasks.update"):
            task.update({name: value for name, value in given.items() if name not in ("task", "force")})
            return {"updated": 1, "fields": {}}
        if task is not None and verb == "tasks.edit_hyper_params":
            for entry in given["hyperparams"]:
                sections = task.setdefault("hyperparams", {})
                sections.setdefault(entry["section"], {})[entry["name"]] = entry
            return {"updated": 1}
        if task is not None and verb.removeprefix("tasks.") in STATES:
            task["status"] = STATES[verb.removeprefix("tasks.")]
            return {"updated": 1, "fields": {}}
        return {}

    def _found(self, given: dict[str, Any], task: dict[str, Any] | None, *, single: bool) -> dict[str, Any]:
        if single:
            return {"task": task}
        ids = given.get("id")
        tags = set(given.get("tags") or ())
        asked = [one for one in self.tasks.values() if not ids or one["id"] in ids]
        return {"tasks": [one for one in asked if tags <= set(one.get("tags", ()))], "scroll_id": None}


STATES = {"started": "in_progress", "completed": "completed", "failed": "failed", "stopped": "stopped"}


class _Handler(BaseHTTPRequestHandler):
    server: ClearmlServer
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        raw = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        verb = self.path.partition("?")[0].rpartition("/")[2]
        self.server.asked.append(verb)
        if verb == "events.add_batch":
            lines = [json.loads(line) for line in raw.splitlines() if line.strip()]
            for event in (event for event in lines if "metric" in event):
                key = (event["task"], event["metric"], event["variant"], event["iter"])
                self.server.events[key] = event
            data: dict[str, Any] = {"added": len(lines), "errors": 0}
        else:
            data = self.server.answer(verb, json.loads(raw) if raw.strip().startswith(b"{") else {})
        meta = {"id": "1", "trx": "1", "result_code": 200, "result_subcode": 0, "result_msg": "OK", "error_stack": "",
                "endpoint": {"name": verb, "requested_version": "2.23", "actual_version": "2.23"}}  # fmt: skip
        body = json.dumps({"meta": meta, "data": data}).encode()
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _serve  # noqa: N815  # names of the base

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def clearml_server() -> Iterator[ClearmlServer]:
    """A running stand-in, gone afterwards."""
    with ClearmlServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
