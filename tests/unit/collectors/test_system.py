"""The system collector and the process tree, against the machine that the tests run on."""

from __future__ import annotations

import copy
import math
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tracelet.collectors import process_tree
from tracelet.collectors.system import SystemCollector

RATES = {
    "cpu_percent", "process_cpu_percent", "disk_read_bytes_per_second", "disk_written_bytes_per_second",
    "network_received_bytes_per_second", "network_sent_bytes_per_second",
}  # fmt: skip
CHILD = "import subprocess, sys; b = bytearray(60_000_000); print('up', flush=True); sys.stdin.read()"
PARENT = (
    "import subprocess, sys\n"
    f"child = subprocess.Popen([sys.executable, '-c', {CHILD!r}], stdin=sys.stdin, stdout=sys.stdout)\n"
    "sys.exit(child.wait())\n"
)


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A process with a child of its own that holds 60 MB; both end when their input is closed."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent, parent.stdin:
        assert parent.stdout.readline() == "up\n"
        yield parent
        parent.stdin.close()
        parent.wait(20)


def sampled_twice(collector: SystemCollector, seconds: float = 0.3) -> tuple[dict[str, float], dict[str, float]]:
    """Two samples with some work of this process in between."""
    collector.start()
    first = dict(collector.sample())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))
    second = dict(collector.sample())
    collector.stop()
    return first, second


def test_the_first_sample_has_no_rates_and_the_second_has_all() -> None:
    """Rates are differences: before there are two readings there is none, and never an invented zero."""
    first, second = sampled_twice(SystemCollector())
    assert not first.keys() & RATES
    assert second.keys() >= {"cpu_percent", "process_cpu_percent"}
    assert second.keys() - first.keys() <= RATES
    assert all(math.isfinite(value) and value >= 0 for value in {**first, **second}.values())
    assert all(isinstance(value, float) for value in second.values())


def test_figures_agree_with_the_machine() -> None:
    """Percentages are percentages; memory and disk are what psutil says of this machine."""
    _, sample = sampled_twice(SystemCollector())
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(".")
    assert 0 <= sample["cpu_percent"] <= 100
    assert sample["memory_used_bytes"] + sample["memory_available_bytes"] <= memory.total * 1.1
    assert sample["memory_percent"] == pytest.approx(memory.percent, abs=20)
    assert sample["disk_percent"] == pytest.approx(disk.percent, abs=5)
    assert sample["process_threads"] >= 1
    assert sample["processes"] >= 1


def test_work_of_this_process_shows_as_its_cpu() -> None:
    """A busy loop in between is a good part of one core, and 100 means one core."""
    before = time.process_time()
    start = time.monotonic()
    _, sample = sampled_twice(SystemCollector(), 0.5)
    busy = 100 * (time.process_time() - before) / (time.monotonic() - start)
    assert sample["process_cpu_percent"] == pytest.approx(busy, rel=0.5)


def test_the_tree_of_a_process_is_counted_with_it(family: subprocess.Popen[str]) -> None:
    """Memory and number of processes include the child's child, and not us."""
    tree = process_tree.tree(family.pid)
    assert [process.pid for process in tree[:1]] == [family.pid]
    assert {process.pid for process in tree} == {family.pid, *(child.pid for child in tree[0].children(recursive=True))}
    assert os.getpid() not in {process.pid for process in tree}
    sample = SystemCollector(pid=family.pid).sample()
    assert sample["processes"] == len(tree) == 2
    assert sample["process_memory_bytes"] > 60_000_000


def test_a_process_that_ends_takes_only_its_own_figures_with_it(family: subprocess.Popen[str]) -> None:
    """The machine is sampled on when the watched process is gone."""
    collector = SystemCollector(pid=family.pid)
    collector.start()
    collector.sample()
    assert family.stdin is not None
    family.stdin.close()
    family.wait(20)
    sample = collector.sample()
    assert "memory_percent" in sample
    assert "processes" not in sample
    assert process_tree.tree(family.pid) == []


def test_a_child_that_ended_does_not_make_the_cpu_negative() -> None:
    """CPU time that left with a child is not subtracted."""
    collector = SystemCollector()
    collector.start()
    with subprocess.Popen(
        [sys.executable, "-c", "sum(range(10**7)); print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        collector.sample()
        child.communicate(b"\n", timeout=20)
    assert collector.sample()["process_cpu_percent"] >= 0


def test_psutils_memory_of_the_programs_own_calls_is_left_alone() -> None:
    """A program that measures with psutil itself gets the very differences it would get without us."""
    psutil.cpu_percent(interval=None)
    before = copy.deepcopy(vars(psutil)["_last_cpu_times"])
    sampled_twice(SystemCollector(), 0.05)
    assert vars(psutil)["_last_cpu_times"] == before


def test_the_disk_watched_is_the_one_that_the_run_started_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later chdir does not change the series, and a folder that is gone costs only the disk's figures."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    collector = SystemCollector()
    collector.start()
    monkeypatch.chdir(tmp_path)
    assert "disk_percent" in collector.sample()
    folder.rmdir()
    sample = collector.sample()
    assert "disk_percent" not in sample
    assert "memory_percent" in sample


def test_sampling_warns_of_nothing_and_leaks_no_descriptor() -> None:
    """A thousandth sample finds as many open files as the tenth."""
    collector = SystemCollector()
    collector.start()
    me = psutil.Process()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(10):
            collector.sample()
        before = me.num_fds() if hasattr(me, "num_fds") else 0
        for _ in range(100):
            collector.sample()
        assert (me.num_fds() if hasattr(me, "num_fds") else 0) <= before


def test_traffic_on_the_loopback_is_no_network_traffic() -> None:
    """Ranks of one node that talk to each other do not show as network bytes."""
    collector = SystemCollector()
    collector.start()
    collector.sample()
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        there, _ = server.accept()
        with there:
            for _ in range(300):
                client.sendall(bytes(100_000))
                left = 100_000
                while left:
                    left -= len(there.recv(left))
    sample = collector.sample()
    sent = sample.get("network_sent_bytes_per_second", 0.0) * (time.monotonic() - start)
    assert sent < 15_000_000


def test_the_root_is_this_process_or_the_launcher_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under torchrun the ranks are siblings, and their parent is the root of the node's training."""
    assert process_tree.root_pid() == os.getpid()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert process_tree.root_pid() == os.getppid()
