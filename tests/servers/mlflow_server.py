"""A real MLflow server in a process of its own, on loopback, with a SQLite database. Tests kill and restart it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests

READY = 120.0
"""Seconds; it takes 4 to 35 on two busy cores."""


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MlflowServer:
    """`start()`, `kill()`, `start()`: the same address and the same data."""

    def __init__(self, folder: Path, store: str = "") -> None:
        self.folder = folder
        self.store = store or f"sqlite:///{folder}/mlflow.db"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The tracking URI."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", self.store,
            "--artifacts-destination", f"{self.folder}/files",
        ]  # fmt: skip
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment["MLFLOW_ALLOW_FILE_STORE"] = "true"
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + READY
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.kill()
                raise RuntimeError((self.folder / "server.log").read_text(errors="replace")[-3000:])
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """SIGKILL to the server and its workers."""
        process, self._process = self._process, None
        if process is None:
            return
        family = [psutil.Process(process.pid)] if psutil.pid_exists(process.pid) else []
        family += [child for one in family for child in one.children(recursive=True)]
        for member in family:
            try:
                member.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                pass
        process.wait()
        psutil.wait_procs(family, timeout=10)


@contextmanager
def mlflow_server(folder: Path, store: str = "") -> Iterator[MlflowServer]:
    """A running server, gone afterwards. `store`: what it keeps its data in, if not in SQLite."""
    server = MlflowServer(folder, store)
    server.start()
    try:
        yield server
    finally:
        server.kill()
