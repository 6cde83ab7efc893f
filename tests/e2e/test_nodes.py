"""Two nodes that share no disk: torchrun on each, only TCP between them, and one complete run on rank 0's side."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

import tracelet
from tests.probes.agents import ROOT, agents, until
from tracelet.errors import JournalError
from tracelet.store.run import Run

PATIENCE = 120.0
"""Seconds for what takes ten on an idle machine."""
TRAINING = """
    import os, sys, time
    import torch
    from torch import distributed
    import tracelet

    tracelet.start_logging("nodes")
    distributed.init_process_group("gloo")
    rank, step, more = distributed.get_rank(), 0, torch.ones(1)
    while more.item():
        tracelet.log({"m": float(10 * rank + step)}, step=step)
        step += 1
        more.fill_(not os.path.exists("enough"))
        distributed.broadcast(more, 0)
        time.sleep(0.05)
    distributed.destroy_process_group()
    tracelet.stop_logging()
"""


class Node:
    """One machine: a folder, a way to start processes there, and torchrun."""

    def __init__(self, folder: Path, rank: int, inside: tuple[str, ...] = ()) -> None:
        self.folder, self.rank, self.inside = folder, rank, inside
        folder.mkdir()
        (folder / "train.py").write_text(textwrap.dedent(TRAINING), encoding="utf-8")
        self.out = folder / "out.txt"

    def start(self, address: str, port: int, processes: int, **environment: str) -> subprocess.Popen[bytes]:
        """Start this node's part of the training."""
        command = [
            *self.inside, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node",
            str(processes), "--node-rank", str(self.rank), "--master-addr", address, "--master-port", str(port),
            "train.py",
        ]  # fmt: skip
        settings = {
            "TRACELET_DIR": str(self.folder / "store"), "TRACELET_DELIVERY": "agent", "TRACELET_TRACK_GIT": "0",
            "TRACELET_TRACK_ENV": "0", "TRACELET_METRICS_INTERVAL": "0.5", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        with self.out.open("wb") as out:
            return subprocess.Popen(
                command, cwd=self.folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), **settings, **environment},
            )  # fmt: skip

    def run(self) -> Run | None:
        """The one run in this node's store, once it is there."""
        found = tracelet.open_store(self.folder / "store").runs()
        return found[0] if found else None

    def steps(self, rank: int) -> int:
        """How many steps of a rank are in this node's store."""
        run = self.run()
        try:
            return len(run.series("m", rank=rank)) if run is not None else 0
        except (KeyError, JournalError):
            return 0

    def reaches(self, steps: int) -> None:
        """Wait until so many steps of rank 2 are in this node's store."""
        until(lambda: self.steps(2) > steps, PATIENCE)


@contextmanager
def started(first: Node, second: Node, address: str, processes: int, **environment: str) -> Iterator[list[int]]:
    """The training on both nodes; at the end nothing of it is left. What is given are the exit codes, once it ended."""
    with socket.create_server(("localhost", 0)) as free:
        port = int(free.getsockname()[1])
    codes: list[int] = []
    running = [first.start(address, port, processes, **environment), second.start(address, port, processes)]
    try:
        yield codes
        codes += [process.wait(PATIENCE) for process in running]
    except BaseException:
        for node in (first, second):
            print(node.out.read_text(encoding="utf-8"))
            for log in node.folder.glob("store/runs/*/agent.log"):
                print(log.read_text(encoding="utf-8"))
        raise
    finally:
        for process in running:
            end_all(process)
        for node in (first, second):
            for agent in agents(node.folder):
                agent.kill()


def end_all(process: subprocess.Popen[bytes]) -> None:
    """End a launcher and what it has launched."""
    for one in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
        one.kill()
    process.kill()
    process.wait()


def of_jsonl(store: Path) -> dict[str, list[tuple[int, float]]]:
    """What the jsonl backend got."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    (path,) = (store / "jsonl").rglob("*.jsonl")
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["kind"] == "point":
            found[record["name"]].append((record["step"], record["value"]))
    return dict(found)


@pytest.mark.slow
def test_two_folders_and_tcp_end_in_one_run(tmp_path: Path) -> None:
    """All ranks and both nodes are in rank 0's store and once in its backend, though each node's agent was killed."""
    first, second = Node(tmp_path / "first", 0), Node(tmp_path / "second", 1)
    with started(first, second, "localhost", 2, TRACELET_BACKEND="jsonl") as codes:
        until(lambda: first.steps(2) > 0 and first.steps(3) > 0, PATIENCE)
        for node in (second, first):
            (agent,) = agents(node.folder)
            agent.kill()
            first.reaches(max(node.steps(2), first.steps(2)) + 20)
        (first.folder / "enough").touch()
    assert codes == [0, 0]
    until(lambda: not agents(tmp_path), PATIENCE)
    run = first.run()
    assert run is not None
    assert run.problems == []
    assert (run.info.status, run.info.world_size) == ("finished", 4), run.info.reason
    assert [(one.started.rank, one.started.node_rank) for one in run.processes] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    steps = list(range(len(run.series("m"))))
    assert run.series("m").complete
    for rank in range(4):
        series = run.series("m", rank=rank)
        assert series.steps.tolist() == steps
        assert series.values.tolist() == [float(10 * rank + step) for step in steps]
    remote = of_jsonl(first.folder / "store")
    assert remote["m"] == [(step, 15.0 + step) for step in steps]
    assert remote["node1/system/cpu_percent"]
    for name in ("rank-2.0.tlj", "rank-3.0.tlj"):
        theirs = next(second.folder.glob(f"store/runs/*/{name}"))
        assert (run.path / name).read_bytes() == theirs.read_bytes()
    assert not (run.path / "endpoint.json").exists()


NETWORK = (f"tracelet-a{os.getpid()}", f"tracelet-b{os.getpid()}")
"""Namespaces belong to the machine, on which these tests may run more than once at a time."""


def possible() -> str:
    """Why there can be no network namespaces here; empty if there can."""
    if sys.platform != "linux" or not shutil.which("ip") or not shutil.which("unshare"):
        return "needs Linux with ip and unshare"
    name = f"tracelet-try{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"may not make network namespaces: {done.stderr.strip()}"
    told = subprocess.run(
        ["ip", "netns", "exec", name, "unshare", "--uts", "hostname", "other"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    _ip("netns", "del", name)
    return f"may not enter namespaces: {told.stderr.strip()}" if told.returncode else ""


@contextmanager
def network() -> Iterator[None]:
    """Two hosts, 10.77.0.1 and 10.77.0.2, with a cable between them."""
    first, second = NETWORK
    with ExitStack() as undo:
        for name in NETWORK:
            _ip("netns", "add", name)
            undo.callback(_ip, "netns", "del", name)
        _ip("link", "add", "cable0", "netns", first, "type", "veth", "peer", "name", "cable1", "netns", second)
        for number, name in enumerate(NETWORK):
            _ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", f"cable{number}")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", f"cable{number}", "up")
        yield


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.mark.slow
def test_two_hosts_in_network_namespaces_end_in_one_run(tmp_path: Path) -> None:
    """Hosts with names, addresses and folders of their own; the second one is lost, and what it told stays."""
    if why := possible():
        pytest.skip(why)
    nodes = []
    for number, name in enumerate(NETWORK):
        inside = (
            "ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c",
            f"hostname {name} && GLOO_SOCKET_IFNAME=cable{number} exec \"$@\"", "sh",
        )  # fmt: skip
        nodes.append(Node(tmp_path / name, number, inside))
    first, second = nodes
    with network(), started(first, second, "10.77.0.1", 1) as codes:
        until(lambda: first.steps(1) > 20, PATIENCE)
        run = first.run()
        assert run is not None
        assert [view.started.host for view in run.views if view.started] == [*NETWORK, *NETWORK]
        assert {one.status.status for one in run.processes} == {"running"}
        for process in psutil.process_iter(["cwd"]):
            if process.info["cwd"] == str(second.folder):  # the launcher, its rank and the agent
                process.kill()
    assert 0 not in codes
    copy = run.path / "rank-1.0.tlj"
    os.utime(copy, (1, 1))  # as if a minute had passed since its last word
    run.refresh()
    assert run.info.status == "failed"
    lost = run.processes[1].status
    assert (lost.status, lost.reason) == ("killed", f"no heartbeat from {NETWORK[1]}")
    assert first.steps(1) > 20
