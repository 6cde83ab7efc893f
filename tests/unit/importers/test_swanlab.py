"""Files that the real SwanLab wrote, compared with what its own protocol buffers decode."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.environments import trackers_python
from tests.importing import HARD, expected, imported, points, values
from tracelet.importers.record_log import SWANLAB, RecordLog
from tracelet.importers.swanlab import SwanlabImporter
from tracelet.testing import ImporterConformance

STEPS = (0, 1, 2, 5, 4, 2**47, 7, 8)  # SwanLab refuses steps from 2**48 on
PROGRAM = f"""
POINTS = {list(zip(STEPS, map(repr, HARD)))}
import swanlab
swanlab.init(
    project="vision", experiment_name="first", mode="offline", logdir="swanlog",
    config={{"lr": 0.1, "net": {{"depth": 3}}}},
)
for step, value in POINTS:
    swanlab.log({{"train/loss": float(value), "zero": 0.0}}, step=step)
swanlab.log({{"zero": 5.0}}, step=1)
print("hello")
swanlab.finish()
"""
DECODE = """
import json, sys
from swanlab.proto.swanlab.record.v1.record_pb2 import Record
found = []
for line in sys.stdin:
    record = Record.FromString(bytes.fromhex(line))
    if record.HasField("scalar"):
        one = record.scalar
        found.append([one.key, one.step, repr(one.value.number), one.timestamp.ToMicroseconds() / 1e6])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run."""
    folder = tmp_path_factory.mktemp("swanlab")
    subprocess.run([trackers_python(), "-c", PROGRAM], cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


def decoded(path: Path) -> list[list[Any]]:
    """The scalars of the file, decoded by SwanLab's own classes."""
    records = "".join(record.hex() + "\n" for record in RecordLog(path, SWANLAB).records())
    done = subprocess.run(
        [trackers_python(), "-c", DECODE], input=records, check=True, capture_output=True, text=True, timeout=60
    )
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def test_every_point_is_there(source: Path, tmp_path: Path) -> None:
    """Values, steps and times are those of SwanLab's own classes; of a repeated step it keeps the first value."""
    run = imported(source, SwanlabImporter(), tmp_path)["first"]
    (path,) = source.rglob("*.swanlab")
    theirs = [tuple(one[1:]) for one in decoded(path) if one[0] == "train/loss"]
    assert points(run, "train/loss") == theirs
    assert values(run, "train/loss") == expected(STEPS, HARD)
    assert values(run, "zero") == expected(STEPS, [0.0] * len(STEPS))


def test_everything_else(source: Path, tmp_path: Path) -> None:
    """Project, configuration and state."""
    run = imported(source, SwanlabImporter(), tmp_path)["first"]
    assert (run.info.project, run.info.status) == ("vision", "finished")
    assert run.params == {"lr": 0.1, "net/depth": 3}


def test_a_file_that_is_cut_off(source: Path, tmp_path: Path) -> None:
    """The beginning of a file is a run without an end; the rest comes with the next import. An empty file is empty."""
    (file,) = source.rglob("*.swanlab")
    path, whole = tmp_path / "run-x.swanlab", file.read_bytes()
    path.write_bytes(b"")
    assert imported(path, SwanlabImporter(), tmp_path / "store")["run-x"].info.status == "killed"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    (run,) = imported(path, SwanlabImporter(), tmp_path / "other").values()
    assert run.info.status == "killed"
    path.write_bytes(whole)
    (run,) = imported(path, SwanlabImporter(), tmp_path / "other").values()
    assert run.info.status == "finished" and len(run.series("train/loss")) == len(STEPS)


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, source: Path, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    ImporterConformance(SwanlabImporter(), source, tmp_path).run(check)
