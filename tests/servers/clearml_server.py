"""A stand-in for a ClearML server on loopback: what its real client needs of the API."""

from __future__ import annotations

import base64
import email
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.servers.stand_in import StandIn, serving


def _token() -> str:
    parts = {"alg": "HS256", "typ": "JWT"}, {"exp": int(time.time()) + 86400, "identity": {}, "api_version": "2.23"}
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


class ClearmlServer(StandIn):
    """Tasks by id, and their scalars; it is its own file server, at the same address."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, dict[str, Any]] = {}
        self.events: dict[tuple[Any, ...], dict[str, Any]] = {}
        """By task, title, series and iteration: the real server keeps one of each, too."""
        self.received: list[dict[str, Any]] = []
        """Every scalar that came, also those that took another one's place."""
        self.asked: list[str] = []

    def reply(self, method: str, path: str, body: bytes) -> object:
        """Answer a verb, or take and give files."""
        if method in ("GET", "HEAD") and path in self.files:
            return self.files[path]
        verb = path.rpartition("/")[2]
        self.asked.append(verb)
        if body.startswith(b"--"):
            return self._take(body)
        data: dict[str, Any]
        if verb == "events.add_batch":
            lines = [json.loads(line) for line in body.splitlines() if line.strip()]
            for event in (event for event in lines if "metric" in event):
                self.received.append(event)
                self.events[event["task"], event["metric"], event["variant"], event["iter"]] = event
            data = {"added": len(lines), "errors": 0}
        else:
            data = self.answer(verb, json.loads(body) if body.strip().startswith(b"{") else {})
        meta = {"id": "1", "trx": "1", "result_code": 200, "result_subcode": 0, "result_msg": "OK", "error_stack": "",
                "endpoint": {"name": verb, "requested_version": "2.23", "actual_version": "2.23"}}  # fmt: skip
        return {"meta": meta, "data": data}

    def _take(self, body: bytes) -> list[str]:
        """Files in a form: each under the path that is its field's name."""
        boundary = body.partition(b"\r\n")[0][2:]
        form = email.message_from_bytes(b'Content-Type: multipart/form-data; boundary="' + boundary + b'"\n\n' + body)
        for part in form.walk():
            name = part.get_param("name", header="content-disposition")
            if isinstance(name, str):
                content = part.get_payload(decode=True)
                assert isinstance(content, bytes)
                self.files["/" + name.lstrip("/")] = content
        return list(self.files)

    def answer(self, verb: str, given: dict[str, Any]) -> dict[str, Any]:
        """The data of one answer; an unknown verb gets an empty one."""
        task = self.tasks.get(str(given.get("task")))
        if verb == "auth.login":
            return {"token": _token()}
        if verb == "users.get_current_user":
            return {"user": {"id": "u", "name": "tester"}}
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
        if task is not None and verb == "tasks.add_or_update_artifacts":
            kept = task.setdefault("execution", {}).setdefault("artifacts", [])
            keys = {artifact["key"] for artifact in given["artifacts"]}
            kept[:] = [artifact for artifact in kept if artifact["key"] not in keys] + given["artifacts"]
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


@contextmanager
def clearml_server() -> Iterator[ClearmlServer]:
    """A running stand-in, gone afterwards."""
    with serving(ClearmlServer()) as server:
        yield server
