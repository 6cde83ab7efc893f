"""An API key placed wherever one can be placed is nowhere in the store, the logs or what the backends have."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.probes.agents import agents, ended_agents, environment, until

pytestmark = pytest.mark.slow
KEY = "0f3c9a77" * 5
"""Of the form of a wandb key, and of none that is known by its looks alone."""
VARIABLES = (
    "WANDB_API_KEY", "CLEARML_API_SECRET_KEY", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD",
    "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "SOME_SERVICE_PASSWORD",
)  # fmt: skip
PROGRAM = """
import os, sys, warnings
warnings.simplefilter("ignore")
import tracelet
KEY = os.environ["WANDB_API_KEY"]
folder = os.getcwd()
probe = {"class": "tests.probes.probe_backend:ProbeBackend", "folder": folder, "api_key": KEY, "token": KEY}
del probe["token"]
backends = {
    "wandb": {"mode": "offline", "api_key": KEY}, "clearml": {"mode": "offline", "api_key": KEY, "access_key": KEY},
    "mlflow": {"url": f"sqlite:///{folder}/mlflow.db", "api_key": KEY}, "tensorboard": {}, "jsonl": {},
    "probe": {**probe, "url": f"https://me:{KEY}@example.org/x?token={KEY}"},
}
config = {"delivery": "agent", "stop_timeout": 100, "backends": {"wandb": {"api_key": KEY}}}
params = {"api_key": KEY, "nested": {"deep": {"wandb_token": KEY}}, "url": f"https://me:{KEY}@h/", "note": f"is {KEY}",
          "list": ["a", KEY]}
run = tracelet.start_logging("leaky", project="all", backend=backends, params=params, config=config)
run.log_params({"later": {"password": KEY}, "free": KEY})
run.set_tags({"key": KEY, "free text": f"Bearer {KEY}"})
tracelet.log({"loss": 1.0})
with tracelet.span("reading", attributes={"header": f"Authorization: Bearer {KEY}"}):
    pass
def ask(secret):
    raise RuntimeError(f"401 for {secret} at https://me:{secret}@example.org/?api_key={secret}")
ask(KEY)
"""


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=folder, check=True,
                   capture_output=True)  # fmt: skip


def readable(data: bytes, name: str) -> bytes:
    """The bytes of a file, and what is packed in it."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return data + b"".join(archive.read(entry) for entry in archive.namelist())
    try:
        return data + zlib.decompress(data, wbits=47)
    except zlib.error:
        return data


def test_a_key_placed_everywhere_is_found_nowhere(tmp_path: Path) -> None:
    """As argument, option, variable, in addresses, parameters, tags, spans, code, a remote and an error: it is gone.

    No file of the store or of a backend holds it, and no text of ours; only the program itself prints it.
    """
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q")
    (work / "train.py").write_text("# nothing yet\n")
    git(work, "add", "train.py")
    git(work, "commit", "-qm", "begin")
    git(work, "remote", "add", "origin", f"https://me:{KEY}@example.org/code.git")
    (work / "train.py").write_text(f"{PROGRAM}\n# a note: {KEY}\n")
    done = subprocess.run(
        [sys.executable, "train.py", "--api-key", KEY, f"--wandb-key={KEY}", KEY, f"note:{KEY}"], cwd=work,
        env=environment(**dict.fromkeys(VARIABLES, KEY)), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.count(KEY) == 3, "the program's own traceback is its own; nothing else says the key"
    until(lambda: not agents(tmp_path))
    run = tracelet.open_store(work / ".tracelet").run("latest")
    assert {name: delivery.state for name, delivery in run.deliveries.items()} == dict.fromkeys(
        ("wandb", "clearml", "mlflow", "tensorboard", "jsonl", "probe"), "done"
    ), done.stderr
    status = run.status_record
    assert status.status == "failed"
    assert "RuntimeError: 401 for ***" in status.traceback
    files = [
        path for path in work.rglob("*") if path.is_file() and ".git" not in path.parts and path.name != "train.py"
    ]
    assert len(files) > 15
    leaks = [path for path in files if KEY.encode() in readable(path.read_bytes(), path.name)]
    assert [str(path.relative_to(work)) for path in leaks] == []
    shown = subprocess.run(
        [sys.executable, "-m", "tracelet", "show", "latest"], cwd=work, env=environment(), capture_output=True,
        text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert "loss" in shown
    assert KEY not in shown
