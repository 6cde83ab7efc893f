"""A real PostgreSQL on loopback, in a temporary folder, as an unprivileged user: it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")
USER, PASSWORD = "sweeper", "pässword:/@"


def _program(name: str) -> str:
    """Debian keeps the server's programs outside PATH, by version."""
    found = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(found[-1]) if found else shutil.which(name) or name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running() -> Iterator[str]:
    """The URL of a database on a server that runs during the block; `{password}` in it stands for the password."""
    folder = Path(tempfile.mkdtemp(prefix="tracelet-postgresql-"))
    account = pwd.getpwnam("postgres") if os.getuid() == 0 else None
    user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account is not None else {}
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    port, data = _free_port(), folder / "data"
    secret = folder / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    secret.chmod(0o644)

    def execute(name: str, *arguments: str) -> None:
        subprocess.run(
            [_program(name), *arguments], cwd=folder, check=True, capture_output=True, timeout=120,
            env={**os.environ, "LC_ALL": "C.UTF-8", "HOME": str(folder)}, **user,  # type: ignore[call-overload]
        )  # fmt: skip

    try:
        execute(
            "initdb", "--pgdata", str(data), "--username", USER, "--auth", "scram-sha-256", "--pwfile", str(secret),
            "--no-sync", "--encoding", "UTF8",
        )  # fmt: skip
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        execute("pg_ctl", "start", "--wait", "--pgdata", str(data), "--options", options, "--log", str(folder / "log"))
        yield f"postgresql://{USER}:{{password}}@127.0.0.1:{port}/postgres"
    finally:
        if (data / "postmaster.pid").exists():
            execute("pg_ctl", "stop", "--mode", "immediate", "--pgdata", str(data))
        shutil.rmtree(folder, ignore_errors=True)
