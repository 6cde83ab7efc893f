"""Starts the agent, tells it what to do, and starts it again once should it die. In the training process.

`start` costs the start of a process and returns before that has done anything. One thread looks after it at long
intervals. The credentials go through a pipe, never into arguments or files. In a forked child it does nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tracelet import guard
from tracelet.agent.process.configuration import LOG, Order, Posting
from tracelet.agent.process.locks import backend_line, holder, last_words, lock_path

LOOK_EVERY = 2.0
"""Seconds between two looks whether it lives."""
BIRTH = 10.0
"""Seconds that a new agent gets before it counts as dead: Python starts slowly from a network disk under load."""
MAIN = Path(__file__).parent.parent / "__main__.py"


class Keeper:
    """The training's side of the agent."""

    def __init__(self, folder: Path, order: Order) -> None:
        self.folder = folder
        self._order = order
        self._process: subprocess.Popen[bytes] | None = None
        self._spawned = 0.0
        self._spawns = 0
        self._seen = False
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="tracelet-agent-keeper", daemon=True)
        self._pid = os.getpid()

    def start(self) -> None:
        """Start the agent. Raises OSError when no process can be started."""
        self._spawn()
        self._thread.start()

    def add(self, postings: Sequence[Posting]) -> None:
        """More backends for the same run."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._order.backends += postings
            self._tell(Order(backends=list(postings)))

    @property
    def receives(self) -> bool:
        """Whether other nodes bring their journals to this one."""
        return self._order.receive

    @property
    def directed(self) -> bool:
        """Whether the agent has been told of other nodes."""
        return self._order.receive or self._order.leader is not None

    def direct(self, order: Order) -> None:
        """What has been found out about the other nodes."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._order.receive, self._order.leader = order.receive, order.leader
            self._tell(order)

    def _spawn(self) -> None:
        self._release()
        with open(self.folder / LOG, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(MAIN), str(self.folder.absolute())], stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL, stderr=log, start_new_session=True, env=_environment(),
            )  # fmt: skip
        self._spawned = time.monotonic()
        self._spawns += 1
        self._seen = False
        self._tell(self._order)

    def _tell(self, order: Order) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.write(msgspec.json.encode(order, enc_hook=str) + b"\n")
            process.stdin.flush()
        except OSError as error:  # it has died; `_look_after` sees to it
            guard.logger.debug("tracelet: the agent does not listen: %s", error)

    def alive(self) -> bool:
        """Whether the agent lives, or may yet be about to come to life."""
        if holder(lock_path(self.folder)):
            self._seen = True
            return True
        return not self._seen and time.monotonic() - self._spawned < BIRTH

    def _look_after(self) -> None:
        with guard.guard("looking after the agent"):
            self._see_off(self._process)
        while not self._ending.wait(LOOK_EVERY):
            with guard.guard("looking after the agent"):
                self.revive()

    def revive(self) -> bool:
        """Start the agent again if it has died for the first time; whether one lives."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return True  # on its way
            left = {self._order.journal, *(backend_line(posting.name) for posting in self._order.backends)}
            if left <= set(last_words(lock_path(self.folder))):
                return False  # it saw the end of this training, and left when it had done what there was to do
            if self.alive():
                return True
            if self._spawns > 1:
                guard.say(
                    "the agent process has died twice; the training and its recording continue. See agent.log in "
                    f"{self.folder}. To deliver: tracelet sync {self.folder.name}",
                    once=f"agent:{self.folder}",
                )
                return False
            self._spawn()
            return True

    def stop(self) -> None:
        """Look after it no more. The agent goes on."""
        self._ending.set()
        if self._pid != os.getpid() or self._thread is threading.current_thread():
            return
        if self._thread.is_alive():
            self._thread.join(LOOK_EVERY)
        self._release()

    def _release(self) -> None:
        """Close the pipe, which tells the agent that we are done, and see the starting process off."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            try:
                process.stdin.close()
            except OSError as error:
                guard.logger.debug("tracelet: the agent does not listen: %s", error)
        self._see_off(process)

    @staticmethod
    def _see_off(process: subprocess.Popen[bytes] | None) -> None:
        """Wait for the process that was started, which ends as soon as it has forked: a program that waits for its
        children is not to meet it.
        """
        if process is None:
            return
        try:
            process.wait(BIRTH)
        except subprocess.TimeoutExpired:
            process.returncode = 0  # nobody waits any more; lest Python warn of it


def _environment() -> dict[str, str]:
    """The training's, but nothing that would have the agent record itself."""
    kept = {**os.environ, "TRACELET_ENABLED": "false"}
    kept.pop("TRACELET_AUTOSTART", None)
    return kept
