"""The real ClearML client, online, against a stand-in server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
import requests

from tests.servers.clearml_server import ClearmlServer, clearml_server
from tracelet.backends.base import Batch, Outcome, SeriesPart
from tracelet.backends.clearml.backend import ClearmlBackend, ClearmlOptions
from tracelet.journal.records import Artifact
from tracelet.store.artifacts import store_artifact
from tracelet.testing import FINISHED, START, BackendConformance, Delivered

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # the SDK's own


@pytest.fixture(scope="module")
def only_server() -> Iterator[ClearmlServer]:
    """One for all tests: the SDK keeps to the first server that its process has spoken to."""
    with clearml_server() as started:
        yield started


@pytest.fixture
def server(only_server: ClearmlServer) -> ClearmlServer:
    only_server.tasks.clear()
    only_server.events.clear()
    return only_server


def suite(server: ClearmlServer, folder: Path) -> BackendConformance:
    options = ClearmlOptions(
        url=server.url, files_url=server.url, access_key="a" * 20, api_key="s" * 40, parent="p" * 32
    )
    return BackendConformance(lambda: ClearmlBackend(options), lambda run: Delivered(), folder)


def ten(number: int) -> Batch:
    """A batch of ten points and a parameter."""
    steps = range(number * 10, number * 10 + 10)
    part = SeriesPart("train/loss", steps, [float(n) for n in steps], [START + n for n in steps], [-1] * 10)
    return Batch(id=f"b:{number}", points=[part], params={"optimizer/lr": 0.5})


def scalars(server: ClearmlServer) -> list[tuple[str, str, int, float, int]]:
    return sorted(
        (event["metric"], event["variant"], event["iter"], event["value"], event["timestamp"])
        for event in server.events.values()
    )


def expected(*numbers: int) -> list[tuple[str, str, int, float, int]]:
    steps = [step for number in numbers for step in range(number * 10, number * 10 + 10)]
    return [("train", "loss", step, float(step), round((START + step) * 1000)) for step in steps]


@pytest.mark.parametrize("forget", [False, True])
def test_a_run_goes_on_in_its_own_task(forget: bool, tmp_path: Path, server: ClearmlServer) -> None:
    """A second courier finds the task, also by its tag alone, and the batch that comes again is there once."""
    conformance = suite(server, tmp_path)
    conformance.deliver(ten(0), ten(1))
    assert [task["status"] for task in server.tasks.values()] == ["in_progress"]
    if forget:
        conformance.memory.values.clear()
    conformance.deliver(ten(1), ten(2), outcome=FINISHED)
    assert scalars(server) == expected(0, 1, 2)
    (task,) = server.tasks.values()
    assert task["status"] == "completed"
    assert task["hyperparams"]["optimizer"]["lr"]["value"] == "0.5"
    assert task["script"]["version_num"] == "0" * 40
    assert task["script"]["entry_point"] == "train.py"
    assert task["parent"] == "p" * 32


LARGE = bytes(range(256)) * 20_000


def test_artifacts_arrive(tmp_path: Path, server: ClearmlServer) -> None:
    """Files and folders lie on the file server, references say where their file is; nothing is there twice."""
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "large.bin").write_bytes(LARGE)
    (tmp_path / "notes.txt").write_bytes(b"hello")
    conformance = suite(server, tmp_path)
    place = conformance.description().artifacts_folder.parent
    kept = [store_artifact(place, tmp_path / name, None, None, int(START * 1e6)) for name in ("notes.txt", "out")]
    reference = Artifact(time=1, name="last.ckpt", path="/nowhere/last.ckpt", kind="checkpoint", metadata={"step": 7})
    batch = Batch(id="b:0-1", artifacts=[*kept, reference])
    conformance.deliver(batch)
    conformance.deliver(batch, outcome=FINISHED)
    (task,) = server.tasks.values()
    artifacts = {one["key"]: one for one in task["execution"]["artifacts"]}
    assert sorted(artifacts) == ["last.ckpt", "notes.txt", "out"]
    assert artifacts["last.ckpt"]["uri"] == "file:///nowhere/last.ckpt"
    assert {"key": "step", "value": "7"} in [
        dict(zip(("key", "value"), one)) for one in artifacts["last.ckpt"]["display_data"]
    ]
    assert requests.get(artifacts["notes.txt"]["uri"], timeout=30).content == b"hello"
    with ZipFile(BytesIO(requests.get(artifacts["out"]["uri"], timeout=30).content)) as archive:
        assert archive.read("deep/large.bin") == LARGE


SHOWN = [("failed", "failed"), ("preempted", "stopped"), ("finished", "completed")]


@pytest.mark.parametrize(("status", "shown"), SHOWN)
def test_how_a_run_ended(status: str, shown: str, tmp_path: Path, server: ClearmlServer) -> None:
    """The task's status says how the run ended."""
    suite(server, tmp_path).deliver(ten(0), outcome=Outcome(status, "for a reason", START + 50))
    (task,) = server.tasks.values()
    assert task["status"] == shown
    assert task["hyperparams"]["tracelet"]["status"]["value"] == status
