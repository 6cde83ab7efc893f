"""What nodes that share no disk cost rank 0's node: taking in the journals of all the others.

A process plays the other nodes, of eight ranks each: once a second every rank logs ten metrics at ten steps, and each
node forwards what is new over TCP. This one is rank 0's node and takes it in. Printed is the share of one core that
this takes, how much comes in, the memory, and how long after the last flush all was there. What gathering the ranks
costs on top of it, where there are backends, is told by many_ranks.py.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import many_ranks
import measure
import psutil

from tracelet.agent.nodes.journal_receiver import JournalReceiver, read_endpoint
from tracelet.agent.nodes.journal_sender import JournalSender
from tracelet.agent.process.configuration import Leader

PER_NODE = 8
SECONDS = 20
PLAYED = "nodes"
"""The argument with which the script plays the other nodes."""


def silent(_: str) -> None:
    """Nobody reads the log."""


def play(root: Path, nodes: int, seconds: int, port: int, secret: str) -> None:
    """Be the other nodes."""
    leader = Leader(addresses=[("localhost", port)], secret=secret)
    written, forwarders = [], []
    for node in range(1, nodes + 1):
        folder = root / f"node{node}"
        folder.mkdir()
        written += many_ranks.journals(folder, PER_NODE, nodes * PER_NODE + PER_NODE, node * PER_NODE)
        forwarders.append(JournalSender(folder, leader, silent))
    for sender in forwarders:
        sender.start()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    for number in range(seconds):
        for journal in written:
            many_ranks.flush(journal, number)
        time.sleep(max(0.0, began + number + 1 - time.monotonic()))
    late = time.monotonic() - began - seconds
    for sender in forwarders:
        sender.training_ended.set()
    for sender in forwarders:
        sender.join()
    print(f"{late:.2f} {time.monotonic() - began - seconds - late:.2f}", flush=True)


def cost(ranks: int, seconds: int) -> None:
    """Print what so many ranks on other nodes cost."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(name) / "here"
        here.mkdir()
        receiver = JournalReceiver(here, silent)
        receiver.start()
        endpoint = read_endpoint(here)
        assert endpoint is not None
        command = [sys.executable, __file__, PLAYED, name, str(ranks // PER_NODE), str(seconds), str(endpoint.port)]
        with subprocess.Popen(
            [*command, endpoint.secret], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as nodes:
            assert nodes.stdout is not None
            assert nodes.stdin is not None
            nodes.stdout.readline()
            while len(list(here.glob("rank-*"))) < ranks:
                time.sleep(0.1)
            threads, size = threading.active_count(), held(here)
            before, began = time.process_time(), time.monotonic()
            nodes.stdin.write("go\n")
            nodes.stdin.flush()
            late, tail = nodes.stdout.readline().split()
        took = time.monotonic() - began
        share, volume = (time.process_time() - before) / took, (held(here) - size) / seconds
        memory = psutil.Process().memory_info().rss
        same = all(path.stat().st_size == other(path, Path(name)).stat().st_size for path in here.glob("rank-*.tlj"))
        receiver.stop()
    print(
        f"{ranks:5d} ranks on {ranks // PER_NODE:3d} nodes: {share:.1%} of a core, {volume / 1e6:.2f} MB a second, "
        f"{memory / 1e6:.0f} MB of memory, {threads} threads; all there {tail} s after the end"
        + ("" if same else " - NOT COMPLETE") + (f" (flushes {late} s late)" if float(late) > 1 else "")
    )  # fmt: skip


def held(folder: Path) -> int:
    """Bytes of journals."""
    return sum(path.stat().st_size for path in folder.glob("*.tlj"))


def other(path: Path, root: Path) -> Path:
    """The original of a copy."""
    return root / f"node{int(path.name.split('-')[1].split('.')[0]) // PER_NODE}" / path.name


def main() -> None:
    """Print a line for each number of ranks."""
    if sys.argv[1:2] == [PLAYED]:
        root, nodes, seconds, port, secret = sys.argv[2:]
        play(Path(root), int(nodes), int(seconds), int(port), secret)
        return
    quick = measure.options(__doc__ or "").quick
    for ranks in (8, 64) if quick else (8, 64, 256, 1024):
        cost(ranks, 5 if quick else SECONDS)


if __name__ == "__main__":
    main()
