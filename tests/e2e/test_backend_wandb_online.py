"""The real wandb client, online, against a stand-in server on loopback that fails and comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers.proxy import FaultyProxy
from tests.servers.wandb_server import WandbServer, wandb_server
from tracelet.backends.base import Batch, RunDescription, SeriesPart
from tracelet.backends.wandb.backend import WandbBackend
from tracelet.backends.wandb.options import WandbOptions
from tracelet.errors import Misconfigured, Unavailable
from tracelet.journal.records import Artifact
from tracelet.store.artifacts import store_artifact
from tracelet.testing import FINISHED, START, BackendConformance, Delivered

pytestmark = pytest.mark.slow
KEY = "k" * 40


@pytest.fixture
def server() -> Iterator[WandbServer]:
    """The stand-in, and the SDK's own process ended with the test."""
    with wandb_server() as started:
        yield started
        import wandb

        wandb.teardown()


def reader(server: WandbServer) -> object:
    def read(run: RunDescription) -> Delivered:
        found = Delivered(status=str(server.runs[run.id]["exit"]))
        for row in server.history(run.id):
            for name in row.keys() - {"_step", "_timestamp", "_runtime", "trainer/global_step"}:
                point = int(row["trainer/global_step"]), float(row[name]), row["_timestamp"]
                found.series.setdefault(name, []).append(point)
        return found

    return read


def suite(server: WandbServer, url: str, folder: Path) -> BackendConformance:
    options = WandbOptions(url=url, api_key=KEY, timeout=60)
    return BackendConformance(lambda: WandbBackend(options), reader(server), folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("check", ["repeated_batch", "repeated_write", "lost_memory", "resumed", "many_points"])
def test_conformance_online(check: str, tmp_path: Path, server: WandbServer) -> None:
    """What every backend must do, wandb does through a server too."""
    suite(server, server.url, tmp_path).run(check)


@pytest.mark.parametrize("mode", ["500", "refuse", "slow"])
def test_a_server_that_fails_and_comes_back(mode: str, tmp_path: Path, server: WandbServer) -> None:
    """Rows written while the server fails arrive once it answers again, each of them once."""
    with FaultyProxy(server.url) as proxy:
        conformance = suite(server, proxy.url, tmp_path)
        backend = conformance.make()
        backend.open(conformance.description())
        batches = []
        for number in range(4):
            proxy.mode = mode if number in (1, 2) else "pass"
            steps = range(number * 10, number * 10 + 10)
            part = SeriesPart(
                "loss", steps, [float(step) for step in steps], [START + step for step in steps], [-1] * 10
            )
            batches.append(Batch(id=f"b:{number}", points=[part], again=number == 0))
            backend.write(batches[-1])
        backend.close(FINISHED)
        conformance.expect(*batches)


VICTIM = """
import os, signal, sys
from pathlib import Path
import psutil
from tests.e2e.test_backend_wandb_online import ten
from tracelet.backends.wandb.backend import WandbBackend
from tracelet.backends.wandb.options import WandbOptions
from tracelet.testing import BackendConformance, Delivered
folder, url = Path(sys.argv[1]), sys.argv[2]
backend = WandbBackend(WandbOptions(url=url, api_key="k" * 40))
backend.open(BackendConformance(lambda: backend, lambda run: Delivered(), folder).description())
backend.write(ten(0))
print("ready", flush=True)
sys.stdin.readline()
backend.write(ten(1))
for child in psutil.Process().children(recursive=True):
    child.kill()
os.kill(os.getpid(), signal.SIGKILL)
"""


def ten(number: int) -> Batch:
    """A batch of ten points."""
    steps = range(number * 10, number * 10 + 10)
    part = SeriesPart("loss", steps, [float(n) for n in steps], [START + n for n in steps], [-1] * 10)
    return Batch(id=f"b:{number}", points=[part], again=number == 0)


def test_everything_killed_while_the_server_is_away(tmp_path: Path, server: WandbServer) -> None:
    """Rows that were on disk when the SDK's process was killed are sent by the next courier, once."""
    with FaultyProxy(server.url) as proxy:
        victim = subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(tmp_path), proxy.url], cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with victim:
            assert victim.stdin is not None
            assert victim.stdout is not None
            assert victim.stdout.readline() == "ready\n"
            proxy.mode = "refuse"
            victim.stdin.write("\n")
            victim.stdin.flush()
            assert victim.wait(60) == -signal.SIGKILL
        assert len(server.history("conformance-run")) <= 10
        proxy.mode = "pass"
        conformance = suite(server, proxy.url, tmp_path)
        conformance.deliver(ten(1), ten(2), outcome=FINISHED)
        conformance.expect(ten(0), ten(1), ten(2))


def test_without_a_key_it_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no question at a terminal: the courier is told to stop, and the user what to type."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    backend = WandbBackend(WandbOptions(url="http://127.0.0.1:9"))
    conformance = BackendConformance(lambda: backend, lambda run: Delivered(), tmp_path)
    try:
        with pytest.raises(Misconfigured, match="WANDB_API_KEY"):
            backend.open(conformance.description())
    finally:
        import wandb

        wandb.teardown()


def artifacts(folder: Path, conformance: BackendConformance) -> Batch:
    """A file, a folder with a file of some megabytes, and a reference to a checkpoint that is elsewhere."""
    (folder / "out" / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "out" / "deep" / "large.bin").write_bytes(LARGE)
    (folder / "notes.txt").write_bytes(b"hello")
    place = conformance.description().artifacts_folder.parent
    kept = [store_artifact(place, folder / name, None, None, int(START * 1e6)) for name in ("notes.txt", "out")]
    reference = Artifact(time=1, name="last.ckpt", path="/nowhere/last.ckpt", kind="checkpoint", metadata={"step": 7})
    return Batch(id="b:0-1", artifacts=[*kept, reference])


def stored(server: WandbServer) -> dict[str, bytes | str]:
    """Collection and path of what the server has of whole artifacts, to its bytes, or to where it refers."""
    return {
        f"{one['type']} {one['collection']}/{path}": entry.get("ref") or server.content(entry)
        for one in server.committed()
        for path, entry in one["entries"].items()
    }


LARGE = bytes(range(256)) * 20_000
STORED = {
    "file notes.txt/notes.txt": b"hello", "folder out/deep/large.bin": LARGE,
    "checkpoint checkpoint-conformance-run/last.ckpt": "file:///nowhere/last.ckpt",
}  # fmt: skip


def test_artifacts_arrive(tmp_path: Path, server: WandbServer) -> None:
    """Files, folders and references are artifacts on the server, also a slow one, and once only."""
    with FaultyProxy(server.url) as proxy:
        conformance = suite(server, proxy.url, tmp_path)
        batch = artifacts(tmp_path, conformance)
        proxy.mode = "slow"
        conformance.deliver(batch, outcome=FINISHED)
        assert not conformance.memory.values["artifacts"]
        proxy.mode = "pass"
        conformance.deliver(batch, outcome=FINISHED)
    assert stored(server) == STORED
    assert len(server.artifacts) == len(STORED)
    (reference,) = (one for one in server.committed() if one["type"] == "checkpoint")
    assert reference["metadata"] == {"step": 7, "path": "/nowhere/last.ckpt", "size": 0}
    assert sorted(reference["aliases"]) == ["last.ckpt", "latest"]
    assert not conformance.memory.values["artifacts"]


def test_a_server_that_is_away_at_the_end(tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Artifacts wait for the server; closing fails while it is away, and in the end all is there, once."""
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "2")
    with FaultyProxy(server.url) as proxy:
        conformance = suite(server, proxy.url, tmp_path)
        batch = artifacts(tmp_path, conformance)
        backend = WandbBackend(WandbOptions(url=proxy.url, api_key=KEY, timeout=3))
        backend.open(conformance.description())
        proxy.mode = "refuse"
        with pytest.raises(Unavailable):
            backend.write(batch)
        proxy.mode = "pass"
        backend.write(replace(batch, again=True))
        proxy.mode = "refuse"
        backend.write(ten(0))
        with pytest.raises(Unavailable):
            backend.close(FINISHED)
        proxy.mode = "pass"
        close(backend)
        conformance.expect(ten(0))
        assert stored(server) == STORED
        assert server.runs["conformance-run"]["exit"] == 0


def close(backend: WandbBackend) -> None:
    """As a courier does it: again, until the backend does not object."""
    for _ in range(40):
        try:
            backend.close(FINISHED)
        except Unavailable:
            continue
        return
    raise AssertionError("the server answers, and the run does not end")
