"""Journals of nodes that share no disk: brought to the leading node byte for byte, whatever happens on the way."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.journals import finish
from tests.probes.agents import until
from tracelet.agent.nodes.journal_receiver import JournalReceiver, read_endpoint
from tracelet.agent.nodes.journal_sender import DONE, SHARED, JournalSender, read_state
from tracelet.agent.nodes.node_link import NodeLink
from tracelet.agent.nodes.unauthenticated import MAX_PER_ADDRESS, MAX_UNAUTHENTICATED, Unauthenticated
from tracelet.agent.nodes.wait_for_nodes import wait_for_nodes
from tracelet.agent.process.configuration import AgentConfig, Leader
from tracelet.agent.process.process_watch import ProcessWatch
from tracelet.journal.chunk_merging import Columns
from tracelet.journal.column_packing import pack_floats, pack_integers
from tracelet.journal.compaction import compact
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Chunk, Points, Started
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact


class Process:
    """A process of the node that is far away."""

    def __init__(self, folder: Path, rank: int, role: str = "rank", pid: int = 1) -> None:
        folder.mkdir(exist_ok=True)
        self.journal = JournalWriter.create(journal_path(folder, f"{role}-{rank}", 0), redact)
        self.started = Started(
            run="r", name="n", project="p", time=1, host="far", pid=pid, rank=rank, world_size=4, role=role
        )
        self.journal.append([self.started])
        self.path = self.journal.path
        self.step = 0

    def log(self, count: int = 100) -> None:
        """Some points, in a flush of their own."""
        steps = list(range(self.step, self.step + count))
        self.step += count
        self.journal.append([Points(chunks=[Chunk(
            name="m", count=count, steps=pack_integers(steps), times=pack_integers(steps),
            values=pack_floats([0.1 * step for step in steps]),
        )])])  # fmt: skip

    def end(self) -> None:
        """It ends as it should."""
        finish(self.journal, self.started)


class Nodes:
    """The leading node's folder and the other one's, and what runs on them."""

    def __init__(self, root: Path) -> None:
        self.here, self.there = root / "here", root / "there"
        self.here.mkdir()
        self.there.mkdir()
        self.log: list[str] = []
        self._running: list[Any] = []

    def receive(self) -> JournalReceiver:
        """The leading node begins to listen."""
        receiver = JournalReceiver(self.here, self.log.append)
        receiver.start()
        self._running.append(receiver.stop)
        return receiver

    def leader(self) -> Leader:
        """Where it listens."""
        endpoint = read_endpoint(self.here)
        assert endpoint is not None
        return Leader(addresses=[("localhost", endpoint.port)], secret=endpoint.secret)

    def forward(self, leader: Leader | None = None, folder: Path | None = None) -> JournalSender:
        """The other node begins to forward."""
        sender = JournalSender(folder or self.there, leader or self.leader(), self.log.append)
        sender.start()
        self._running.append(lambda: self.close(sender))
        return sender

    @staticmethod
    def close(sender: JournalSender) -> None:
        """The other node's agent ends."""
        sender.stop()
        sender.training_ended.set()
        sender.join()

    def same(self, process: Process) -> bool:
        """Whether the leading node has all of a journal."""
        copy = self.here / process.path.name
        return copy.exists() and copy.read_bytes() == process.path.read_bytes()

    def stop(self) -> None:
        """Both agents end."""
        while self._running:
            self._running.pop()()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Two nodes; nothing of them runs on after the test."""
    made = Nodes(tmp_path)
    yield made
    made.stop()


def steps_of(folder: Path) -> list[int]:
    """The steps that stand in the journal of the rank that logs here."""
    records = [(frame.number, frame.record()) for frame in JournalReader(journal_path(folder, "rank-2", 0)).frames()]
    chunks = [(chunk, number) for number, record in records if isinstance(record, Points) for chunk in record.chunks]
    return [step for chunk, number in chunks for step in Columns.of(chunk, number).steps]


def test_journals_are_brought_while_they_grow(nodes: Nodes) -> None:
    """What is written on the other node is here soon after, to the last byte; then it says farewell."""
    receiver = nodes.receive()
    receiver.missing = False
    assert not receiver.expects_more()
    process, node = Process(nodes.there, 2), Process(nodes.there, 0, "node")
    sender = nodes.forward()
    for _ in range(3):
        process.log()
        until(lambda: nodes.same(process) and nodes.same(node))
    assert receiver.expects_more()
    assert not wait_for_nodes(nodes.there, False, time.monotonic(), lambda: True)
    process.log(5000)
    process.end()
    sender.training_ended.set()
    sender.join()
    assert nodes.same(process)
    assert steps_of(nodes.here) == list(range(5300))
    until(lambda: not receiver.expects_more())
    assert wait_for_nodes(nodes.there, False, time.monotonic(), lambda: True)
    state = read_state(nodes.there)
    assert state is not None
    assert state.state == DONE


def test_a_lost_leader_is_found_again_and_nothing_is_doubled(nodes: Nodes) -> None:
    """Its agent ends and comes back: on the same port, with the same secret; what was missed follows."""
    first = nodes.receive()
    before = nodes.leader()
    endpoint = (nodes.here / "endpoint.json").read_bytes()
    process = Process(nodes.there, 2)
    process.log()
    sender = nodes.forward()
    until(lambda: nodes.same(process))
    first.stop()
    (nodes.here / "endpoint.json").write_bytes(endpoint)  # which an agent that is killed leaves
    process.log()
    until(lambda: any("cannot be reached" in line for line in nodes.log))
    nodes.receive()
    assert nodes.leader() == before
    until(lambda: nodes.same(process))
    process.end()
    sender.training_ended.set()
    sender.join()
    assert nodes.same(process)
    assert steps_of(nodes.here) == list(range(200))


def test_a_leader_that_is_not_there_yet_is_waited_for(nodes: Nodes) -> None:
    """Forwarding begins when the leading node listens, however long that takes."""
    nodes.receive().stop()
    with socket.create_server(("localhost", 0)) as free:
        port = int(free.getsockname()[1])
    secret = "00" * 32
    process = Process(nodes.there, 2)
    nodes.forward(Leader(addresses=[("localhost", port)], secret=secret))
    until(lambda: any("cannot be reached" in line for line in nodes.log))
    (nodes.here / "endpoint.json").write_text(
        f'{{"port": {port}, "secret": "{secret}", "pid": 1, "process_started": 0}}', encoding="utf-8"
    )
    nodes.receive()
    until(lambda: nodes.same(process))


def test_a_forwarder_that_is_started_again_goes_on_where_the_other_was(nodes: Nodes) -> None:
    """The agent of the other node dies: the next one asks what is here, and adds to it; even after compaction."""
    nodes.receive()
    process = Process(nodes.there, 2)
    process.log()
    for _ in range(2):
        sender = nodes.forward()
        until(lambda: nodes.same(process))
        nodes.close(sender)
        process.log()
    process.end()
    assert compact(process.path)
    last = nodes.forward()
    last.training_ended.set()
    last.join()
    assert nodes.same(process)
    assert steps_of(nodes.here) == list(range(300))


def test_compaction_at_the_end_costs_nothing(nodes: Nodes) -> None:
    """A journal that is rewritten before its end was forwarded is forwarded to its end as it was."""
    nodes.receive()
    process = Process(nodes.there, 2)
    process.log()
    sender = nodes.forward()
    until(lambda: nodes.same(process))
    process.log()
    process.end()
    whole = process.path.read_bytes()
    assert compact(process.path)
    sender.training_ended.set()
    sender.join()
    assert (nodes.here / process.path.name).read_bytes() == whole


def test_a_shared_folder_is_recognised(nodes: Nodes) -> None:
    """On a shared disk there is nothing to forward, nothing is written, and nobody is awaited."""
    receiver = nodes.receive()
    receiver.missing = False
    process = Process(nodes.here, 2)
    before = process.path.read_bytes()
    sender = nodes.forward(folder=nodes.here)
    sender.join()
    state = read_state(nodes.here)
    assert state is not None
    assert state.state == SHARED
    assert process.path.read_bytes() == before
    assert len(list(nodes.here.glob("*.tlj"))) == 1
    until(lambda: not receiver.expects_more())


def test_a_name_that_is_taken_becomes_the_next_one(nodes: Nodes) -> None:
    """Hosts of one name: the copy is the next attempt, also when it is asked for again after a restart."""
    mine, theirs = Process(nodes.here, 0, "node"), Process(nodes.there, 0, "node", pid=2)
    before, copy = mine.path.read_bytes(), nodes.here / "node-0.1.tlj"
    for _ in range(2):
        receiver = nodes.receive()
        sender = nodes.forward()
        theirs.log()
        until(lambda: copy.exists() and copy.read_bytes() == theirs.path.read_bytes())
        nodes.close(sender)
        receiver.stop()
    assert mine.path.read_bytes() == before
    assert len(list(nodes.here.glob("node-*.tlj"))) == 2


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.0\r\n\r\n", b"x" * 200])
def test_who_does_not_know_the_secret_is_not_let_in(nodes: Nodes, said: bytes) -> None:
    """Somebody who just connects learns nothing but a greeting, and writes nothing."""
    nodes.receive()
    leader = nodes.leader()
    with socket.create_connection(leader.addresses[0]) as stranger:
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        stranger.settimeout(10)
        last_seen = b"".join(iter(lambda: _heard(stranger), b""))
    assert last_seen.startswith(b"tracelet nodes")
    assert len(last_seen) < 64
    assert bytes.fromhex(leader.secret) not in last_seen
    Process(nodes.there, 2)
    nodes.forward(Leader(addresses=leader.addresses, secret="00" * 32))
    until(lambda: any("cannot be reached" in line for line in nodes.log))
    assert not list(nodes.here.glob("*.tlj"))
    assert os.stat(nodes.here / "endpoint.json").st_mode & 0o077 == 0


def _heard(stranger: socket.socket) -> bytes:
    try:
        return stranger.recv(100)
    except ConnectionResetError:
        return b""


def test_many_silent_strangers_keep_no_node_out(nodes: Nodes) -> None:
    """Those of one address get few threads, and a node of the same address is let in while all of them wait."""
    nodes.receive()
    leader = nodes.leader()
    before = threading.active_count()
    with ExitStack() as strangers:
        for _ in range(600):
            strangers.enter_context(socket.create_connection(leader.addresses[0]))
        until(lambda: threading.active_count() <= before + MAX_PER_ADDRESS + 2)
        process = Process(nodes.there, 2)
        nodes.forward(leader)
        until(lambda: list(nodes.here.glob("*.tlj")) and process.path.stat().st_size)
    until(lambda: threading.active_count() <= before + 3)
    assert (nodes.here / process.path.name).exists()


def test_no_thread_for_a_node_ends_nothing(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system starts no thread, the node is sent away, and let in as soon as there is room."""
    nodes.receive()
    leader, start = nodes.leader(), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with socket.create_connection(leader.addresses[0]) as refused:
        refused.settimeout(10)
        assert _heard(refused) == b""
    monkeypatch.setattr(threading.Thread, "start", start)
    Process(nodes.there, 2)
    nodes.forward(leader)
    until(lambda: list(nodes.here.glob("*.tlj")))


def test_a_silent_process_is_seen_from_afar(nodes: Nodes) -> None:
    """Copies bear the time of their process's last sign of life, however late they come."""
    process = Process(nodes.there, 2)
    nodes.receive()
    long_ago = time.time() - 1000
    os.utime(process.path, (long_ago, long_ago))
    nodes.forward()
    until(lambda: nodes.same(process))
    copy = nodes.here / process.path.name
    until(lambda: abs(copy.stat().st_mtime - long_ago) < 20)
    watch = ProcessWatch(nodes.here)
    watch.update()
    assert watch.ended()
    process.journal.touch()
    until(lambda: time.time() - copy.stat().st_mtime < 20)
    watch.update()
    assert not watch.ended()


def test_the_training_waits_for_last_words_within_a_limit(nodes: Nodes) -> None:
    """Rank 0's process, at its end, waits until no node is awaited, or until its time is over."""
    exchange = NodeLink(nodes.here, nodes.log.append)
    exchange.apply(AgentConfig(receive=True))
    try:
        exchange.update(missing=True)
        before = exchange.busy
        assert not wait_for_nodes(nodes.here, True, time.monotonic() + 0.2, lambda: True)
        assert not wait_for_nodes(nodes.here, True, time.monotonic() + 60, lambda: False)
        exchange.update(missing=False)
        assert wait_for_nodes(nodes.here, True, time.monotonic() + 60, lambda: True)
        assert (before, exchange.busy) == (True, False)
    finally:
        exchange.stop()
    assert wait_for_nodes(nodes.here, True, time.monotonic() + 60, lambda: True)


def test_an_exchange_forwards_again_when_another_training_begins(nodes: Nodes) -> None:
    """torchrun starts the workers again while the agent is about to leave: it forwards theirs too."""
    nodes.receive()
    exchange = NodeLink(nodes.there, nodes.log.append)
    first = Process(nodes.there, 2)
    try:
        exchange.apply(AgentConfig(leader=nodes.leader()))
        first.end()
        exchange.training_ended()
        until(lambda: not exchange.busy)
        exchange.training_started()
        second = Process(nodes.there, 3)
        until(lambda: nodes.same(second))
        second.end()
        exchange.training_ended()
        until(lambda: not exchange.busy)
        assert nodes.same(first)
        assert nodes.same(second)
    finally:
        exchange.stop()
        _joined(exchange.sender)


def _joined(sender: JournalSender | None) -> None:
    assert sender is not None
    Nodes.close(sender)


def test_strangers_of_many_addresses_take_one_anothers_places() -> None:
    """Beyond the limit somebody is closed for everybody who comes, and nobody is turned away at the door."""
    waiting = Unauthenticated()
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(MAX_UNAUTHENTICATED + 20)]
        for place, (ours, theirs) in enumerate(pairs):
            stack.enter_context(ours)
            stack.enter_context(theirs)
            waiting.admit(ours, f"10.0.0.{place}")
        assert len(waiting) == MAX_UNAUTHENTICATED
        closed = 0
        for _, theirs in pairs:
            theirs.setblocking(False)
            try:
                closed += theirs.recv(1) == b""
            except BlockingIOError:
                continue
        assert closed == 20


def test_it_listens_at_the_address_that_is_needed(nodes: Nodes) -> None:
    """Given the address of an interface, it is not reached on another one."""
    receiver = JournalReceiver(nodes.here, nodes.log.append, "127.0.0.1")
    receiver.start()
    try:
        endpoint = read_endpoint(nodes.here)
        assert endpoint is not None
        socket.create_connection(("127.0.0.1", endpoint.port)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", endpoint.port))
    finally:
        receiver.stop()
