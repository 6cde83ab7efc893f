"""SIGKILL at random moments: what was logged before the flush interval is on disk, and the store opens.

The children log in pure Python and tell, through a pipe, when they had logged what: the disk is held to that.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tracelet

FLUSH_INTERVAL = 0.1
KILLS = 50
SLACK = 0.25
"""Seconds by which a writer thread may come late on a machine whose two cores are shared with other test suites."""

CHILD = """
    import os, sys, time
    import tracelet

    interval, pause, burst = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    run = tracelet.start_logging("victim", config=dict(
        flush_interval=interval, quiet=True, delivery="off", track_system=False, track_git=False, track_env=False,
        track_lightning=False))
    print("ready", flush=True)
    step = 0
    while True:
        for _ in range(burst):
            run.log_metrics({"a": step * 0.1, "b": float(step)}, step)
            step += 1
        os.write(1, f"{step} {time.monotonic()}\\n".encode())
        time.sleep(pause)
"""


ANY = """
    import json, os, sys, time
    import tracelet

    interval, pause, told = float(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3])
    points = [(name, step, float.fromhex(value)) for name, step, value in told]
    run = tracelet.start_logging("victim", config=dict(
        flush_interval=interval, quiet=True, delivery="off", track_system=False, track_git=False, track_env=False,
        track_lightning=False))
    print("ready", flush=True)
    logged = 0
    while True:
        for name, step, value in points:
            run.log_metric(name, value, step)
        logged += len(points)
        os.write(1, f"{logged} {time.monotonic()}\\n".encode())
        time.sleep(pause)
"""

Point = tuple[str, int, float]


class Victim:
    """A child that logs until it is killed, and what it said it had logged."""

    def __init__(self, store: Path, code: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TRACELET_DIR": str(store)},
        )  # fmt: skip
        assert self.output.readline() == b"ready\n", self.process.communicate()[1]

    @property
    def output(self) -> IO[bytes]:
        """What it prints."""
        assert self.process.stdout is not None
        return self.process.stdout

    def kill(self) -> tuple[float, list[tuple[int, float]]]:
        """Kill it: the moment (of the shared monotonic clock), and (points logged, moment) for all that it said."""
        moment = time.monotonic()
        os.kill(self.process.pid, signal.SIGKILL)
        output, errors = self.process.communicate()
        assert errors == b""
        said = [line.split() for line in output.decode().splitlines(keepends=True) if line.endswith("\n")]
        return moment, [(int(count), float(when)) for count, when in said]


def check(store: Path, interval: float, moment: float, said: list[tuple[int, float]]) -> None:
    """The newest run holds what was logged more than the flush interval before the kill, exactly, and nothing else."""
    run = tracelet.open_store(store).run("latest")
    assert run.info.status == "killed"
    assert run.problems == []
    due = max((count for count, when in said if when < moment - interval - SLACK), default=0)
    names = run.metrics()
    if due:
        assert names == ["a", "b"]
    for name, factor in (("a", 0.1), ("b", 1.0)):
        steps = run.series(name).steps.tolist() if name in names else []
        assert len(steps) >= due, f"{due - len(steps)} points are missing"
        assert steps == list(range(len(steps)))
        assert not steps or run.series(name).values.tolist() == [step * factor for step in steps]


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_fifty_kills_lose_nothing_older_than_the_flush_interval(tmp_path: Path) -> None:
    """A process is killed at 50 random moments; each time everything it had logged in time is read back exactly."""
    generator = random.Random(20240607)
    for number in range(KILLS):
        victim = Victim(tmp_path / str(number), CHILD, FLUSH_INTERVAL, 0.001, generator.choice([1, 5, 200]))
        time.sleep(generator.uniform(0, 0.8))
        moment, said = victim.kill()
        check(tmp_path / str(number), FLUSH_INTERVAL, moment, said)


@pytest.mark.slow
@pytest.mark.timeout(280)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    st.floats(0.02, 0.3), st.floats(0.0, 0.02), st.integers(1, 3000), st.floats(0.0, 0.7)
)  # fmt: skip
def test_any_pace_and_any_moment(interval: float, pause: float, burst: int, wait: float) -> None:
    """Whatever the flush interval, the pace of logging and the moment of the kill, the same holds."""
    with tempfile.TemporaryDirectory() as folder:
        victim = Victim(Path(folder), CHILD, interval, pause, burst)
        time.sleep(wait)
        moment, said = victim.kill()
        check(Path(folder), interval, moment, said)


def bits(value: float) -> bytes:
    """A float as the child has it, to the bit: of a NaN a text keeps no more than that it is one."""
    return struct.pack("<d", float.fromhex(value.hex()))


@pytest.mark.slow
@pytest.mark.timeout(280)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12),
            st.integers(-(2**63), 2**63 - 1), st.floats(),
        ),
        min_size=1, max_size=60,
    ),
    st.floats(0.02, 0.3), st.floats(0.0, 0.02), st.floats(0.0, 1.0),
)  # fmt: skip
def test_any_series_and_any_moment(points: list[Point], interval: float, pause: float, wait: float) -> None:
    """Whatever is logged, under whatever names, the disk has it to the bit, in order, up to the flush interval."""
    with tempfile.TemporaryDirectory() as folder:
        told = json.dumps([(name, step, value.hex()) for name, step, value in points])
        victim = Victim(Path(folder), ANY, interval, pause, told)
        time.sleep(wait)
        moment, said = victim.kill()
        run = tracelet.open_store(folder).run("latest")
        assert run.problems == []
        due = max((count for count, when in said if when < moment - interval - SLACK), default=0)
        found = {name: run.series(name) for name in run.metrics()}
        assert found.keys() <= {name for name, _, _ in points}
        for name in {name for name, _, _ in points}:
            mine = [(step, bits(value)) for one, step, value in points if one == name]
            series = found.get(name)
            logged = [(int(at), bits(float(value))) for at, value in zip(series.steps, series.values)] if series else []
            assert len(logged) >= due // len(points) * len(mine)
            rounds = -(-len(logged) // len(mine))
            assert logged == (mine * rounds)[: len(logged)]


@pytest.mark.slow
def test_a_process_killed_while_it_starts_leaves_a_store_that_opens(tmp_path: Path) -> None:
    """Killed within the first milliseconds, a run is absent, empty or killed, and the store lists all the same."""
    code = "import tracelet, time; tracelet.start_logging('x', config=dict(quiet=True, delivery='off')); time.sleep(9)"
    generator = random.Random(7)
    environment = {**os.environ, "TRACELET_DIR": str(tmp_path / "s")}
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", code], env=environment)
        time.sleep(generator.uniform(0.05, 0.4))
        process.kill()
        process.wait()
    for run in tracelet.open_store(tmp_path / "s").runs():
        assert run.info.status in {"killed", "unreadable"}
        assert run.metrics() is not None
        assert run.problems == []
