"""Sends this node's journals to rank 0's node over TCP, byte for byte, as they grow.

One thread of the agent, when a training spans several nodes. Only reads the journals. After a lost connection it asks
how much the other side has and continues from there; a journal that was rewritten (by compaction, for example) is sent
whole. Ends when the training has ended and everything has arrived, or if the run's folder turns out to be shared.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tracelet.agent.nodes.journal_copies import checksum
from tracelet.agent.nodes.protocol import (
    Channel,
    CopyStatus,
    EndOfData,
    OfferJournal,
    Received,
    Register,
    Segment,
    Segments,
    SharedFolder,
    connect,
)
from tracelet.agent.process.configuration import Leader
from tracelet.errors import JournalError
from tracelet.guard import guard
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.run_folder import SUFFIX
from tracelet.store.run_ids import short_id

POLL = 1.0
"""Seconds between two checks for new data; with two a second, 128 nodes keep the leader twice as busy."""
MAX_MESSAGE = 1024 * 1024
"""Bytes of one message."""
FIRST_PAUSE, MAX_PAUSE = 0.2, 10.0
"""Seconds between two connection attempts; each waits a random time up to twice the previous maximum."""
CONNECT_TIMEOUT = 5.0
"""Seconds for one address to answer."""
FORWARDING, DONE, SHARED = "forwarding", "done", "shared"


class SenderState(msgspec.Struct, frozen=True, kw_only=True):
    """The progress: RUN/forward-HOST.json, which the training reads at its end."""

    state: str = FORWARDING
    why: str = ""


class OutgoingJournal:
    """One journal being sent. The open file stays the same if compaction replaces it on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY)
        self.offset = -1
        """The end of the copy; -1: has to be asked for."""
        self.fresh = False
        self._touched = 0

    def head(self) -> bytes:
        """The bytes up to the end of the first record, which identifies the process; empty while it has none."""
        try:
            first = next(iter(JournalReader(self.path).frames()), None)
        except JournalError:
            first = None
        return os.pread(self.descriptor, first.after.offset, 0) if first is not None else b""

    def resume(self, kept: CopyStatus) -> None:
        """Continue after the copied part if it is equal so far; else start again."""
        same = kept.size <= self.size() and checksum(self.descriptor, kept.size) == kept.crc
        self.offset, self.fresh = (kept.size, False) if same else (0, True)

    def size(self) -> int:
        """Its current length."""
        return os.fstat(self.descriptor).st_size

    def segment(self, most: int) -> Segment | None:
        """The new bytes, or a sign of life; None if neither."""
        here = os.fstat(self.descriptor)
        data = os.pread(self.descriptor, min(most, here.st_size - self.offset), self.offset)
        if not data and not self.fresh and here.st_mtime_ns == self._touched:
            return None
        self._touched = here.st_mtime_ns
        last = self.fresh and self.offset + len(data) >= here.st_size
        return Segment(self.path.name, self.offset, data, max(0.0, time.time() - here.st_mtime), self.fresh, last)

    def acknowledge(self, segment: Segment, size: int) -> None:
        """The other side's copy ends there now."""
        self.offset = size if size == segment.offset + len(segment.data) else -1
        self.fresh = self.fresh and not segment.last

    def complete(self) -> bool:
        """Whether everything has been copied."""
        return self.offset == self.size() and not self.fresh

    def replaced(self) -> bool:
        """Whether the file was replaced by another one that is not just its compaction."""
        try:
            here = os.stat(self.path)
        except OSError:
            return False
        if here.st_ino == os.fstat(self.descriptor).st_ino:
            return False
        footer = JournalReader(self.path).footer()
        return footer is None or not footer.compacted

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


class JournalSender(threading.Thread):
    """Sends a node's journals to the leader."""

    def __init__(self, folder: Path, leader: Leader, log: Callable[[str], None]) -> None:
        super().__init__(name="tracelet-journal-sender", daemon=True)
        self.folder = folder
        self.training_ended = threading.Event()
        """Set by the agent once nothing more will be written."""
        self.shared = False
        self._leader = leader
        self._log = log
        self._stopping = threading.Event()
        self._random = random.Random()
        self._journals: dict[str, OutgoingJournal] = {}
        here = os.stat(folder)
        self._node = short_id(f"{socket.gethostname()}:{folder.absolute()}:{here.st_dev}:{here.st_ino}")

    def stop(self) -> None:
        """Stop soon; the rest stays on this node."""
        self._stopping.set()

    def run(self) -> None:
        """Connect repeatedly until everything is sent."""
        self._write_state(SenderState())
        attempt = 0
        while not self._stopping.is_set() and self.folder.exists():
            before = time.monotonic()
            with guard("forwarding to the leading node"):
                if self._attempt(attempt):
                    break
            # After a connection that lasted, reconnect soon; after one that failed at once, increase the wait.
            attempt = 0 if time.monotonic() - before > MAX_PAUSE else attempt + 1
            self._stopping.wait(self._random.uniform(0.0, min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(attempt, 10))))
        for journal in self._journals.values():
            journal.close()

    def _attempt(self, attempt: int) -> bool:
        try:
            return self._send_all()
        except OSError as error:
            if not attempt:
                self._log(f"rank 0's node cannot be reached ({error}); data is kept here and sent later")
                self._write_state(SenderState(why=str(error)))
            for journal in self._journals.values():
                journal.offset = -1
            return False

    def _send_all(self) -> bool:
        """One connection, until its end: whether everything is sent."""
        with _connection(self._leader.addresses, self._leader.secret) as channel:
            channel.ask(Register(self._node, socket.gethostname()))
            self._write_state(SenderState())
            while not self._stopping.is_set():
                ended = self.training_ended.is_set()  # checked first: what is read after the end is complete
                full = self._send_new_data(channel)
                if self.shared:
                    self._log("the run's folder is shared with rank 0's node; nothing to forward")
                    self._write_state(SenderState(state=SHARED))
                    return True
                if ended and self._complete():
                    channel.ask(EndOfData())
                    self._log("all data has been forwarded to rank 0's node")
                    self._write_state(SenderState(state=DONE))
                    return True
                if not full:
                    self._sleep(ended)
        return False

    def _sleep(self, ended: bool) -> None:
        if ended:
            self._stopping.wait(FIRST_PAUSE)
        else:
            self.training_ended.wait(POLL)

    def _complete(self) -> bool:
        return all(path.name in self._journals for path in self.folder.glob("*" + SUFFIX)) and all(
            journal.complete() for journal in self._journals.values()
        )

    def _send_new_data(self, channel: Channel) -> bool:
        """Send new data; whether it takes more than one message."""
        self._find_journals()
        room, sent = MAX_MESSAGE, list[tuple[OutgoingJournal, Segment]]()
        for journal in self._journals.values():
            if journal.offset < 0 and not self._offer(channel, journal):
                if self.shared:
                    return False
                continue
            segment = journal.segment(room) if room else None
            if segment is not None:
                sent.append((journal, segment))
                room -= len(segment.data)
        if sent:
            answer = channel.ask(Segments([segment for _, segment in sent]))
            if not isinstance(answer, Received) or len(answer.sizes) != len(sent):
                raise ConnectionAbortedError("rank 0's node did not understand the message")
            for (journal, segment), size in zip(sent, answer.sizes):
                journal.acknowledge(segment, size)
        return not room

    def _offer(self, channel: Channel, journal: OutgoingJournal) -> bool:
        head = journal.head()
        answer = channel.ask(OfferJournal(journal.path.name, head)) if head else None
        if isinstance(answer, CopyStatus):
            journal.resume(answer)
            return True
        self.shared = isinstance(answer, SharedFolder)
        return False

    def _find_journals(self) -> None:
        for path in self.folder.glob("*" + SUFFIX):
            known = self._journals.get(path.name)
            if known is not None and known.complete() and known.replaced():
                known.close()
                known = None
            if known is None:
                self._journals[path.name] = OutgoingJournal(path)

    def _write_state(self, state: SenderState) -> None:
        with guard("writing down what is forwarded"):
            path = state_path(self.folder)
            beside = path.with_name(f".{path.name}.new")
            beside.write_bytes(msgspec.json.encode(state))
            os.replace(beside, path)


@contextmanager
def _connection(addresses: Sequence[tuple[str, int]], secret: str) -> Iterator[Channel]:
    """A channel to the first address whose server knows the secret. OSError if there is none."""
    failure: OSError = ConnectionRefusedError("no address is known")
    for address in addresses:
        try:
            connection = socket.create_connection((address[0], address[1]), CONNECT_TIMEOUT)
        except OSError as error:
            failure = error
            continue
        with connection:
            try:
                channel = connect(connection, bytes.fromhex(secret))
            except OSError as error:
                failure = error
                continue
            yield channel
            return
    raise failure


def state_path(folder: Path) -> Path:
    """The file with the progress of this host's sender."""
    return folder / f"forward-{socket.gethostname()}.json"


def read_state(folder: Path) -> SenderState | None:
    """The progress; None if nothing is sent."""
    try:
        return msgspec.json.decode(state_path(folder).read_bytes(), type=SenderState)
    except (OSError, msgspec.MsgspecError):
        return None
