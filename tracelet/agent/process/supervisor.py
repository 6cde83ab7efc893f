"""Starts the agent, sends it its configuration, and restarts it once if it dies. Runs in the training process.

`start` costs one process start and returns before the agent has done anything. One thread checks on it every two
seconds. Credentials go through a pipe, never into arguments or files. Does nothing in a forked child.
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
from tracelet.agent.process.configuration import LOG, AgentConfig, BackendConfig
from tracelet.agent.process.locks import backend_entry, holder, lock_path, read_completed
from tracelet.journal.private_files import open_private

CHECK_INTERVAL = 2.0
"""Seconds between two checks whether it is alive."""
START_TIMEOUT = 10.0
"""Seconds until a new agent counts as dead: Python starts slowly from a network disk under load."""
AGENT_PROGRAM = Path(__file__).parent.parent / "__main__.py"


class AgentSupervisor:
    """Controls the agent from the training process."""

    def __init__(self, folder: Path, config: AgentConfig) -> None:
        self.folder = folder
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._starts = 0
        self._seen_alive = False
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="tracelet-agent-supervisor", daemon=True)
        self._pid = os.getpid()

    def start(self) -> None:
        """Start the agent. Raises OSError if no process can be started."""
        self._start_process()
        self._thread.start()

    def add(self, backend_configs: Sequence[BackendConfig]) -> None:
        """Add backends for the same run."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._config.backends += backend_configs
            self._send(AgentConfig(backends=list(backend_configs)))

    @property
    def receives(self) -> bool:
        """Whether other nodes send their journals to this one."""
        return self._config.receive

    @property
    def spans_nodes(self) -> bool:
        """Whether the agent has the addresses of other nodes."""
        return self._config.receive or self._config.leader is not None

    def configure_nodes(self, config: AgentConfig) -> None:
        """Send the agent the configuration of the other nodes."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._config.receive, self._config.leader = config.receive, config.leader
            self._send(config)

    def _start_process(self) -> None:
        self._close_pipe()
        with open(self.folder / LOG, "ab", opener=open_private) as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(AGENT_PROGRAM), str(self.folder.absolute())],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
                env=_environment(),
            )  # fmt: skip
        self._started_at = time.monotonic()
        self._starts += 1
        self._seen_alive = False
        self._send(self._config)

    def _send(self, config: AgentConfig) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.write(msgspec.json.encode(config, enc_hook=str) + b"\n")
            process.stdin.flush()
        except OSError as error:  # it has died; `_supervise` handles it
            guard.logger.debug("tracelet: the agent does not listen: %s", error)

    def is_alive(self) -> bool:
        """Whether the agent is alive, or may still be starting."""
        if holder(lock_path(self.folder)):
            self._seen_alive = True
            return True
        return not self._seen_alive and time.monotonic() - self._started_at < START_TIMEOUT

    def _supervise(self) -> None:
        with guard.guard("looking after the agent"):
            self._reap(self._process)
        while not self._stopping.wait(CHECK_INTERVAL):
            with guard.guard("looking after the agent"):
                self.ensure_running()

    def ensure_running(self) -> bool:
        """Restart the agent if it has died for the first time; whether one is alive."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return True  # it is starting
            left = {self._config.journal, *(backend_entry(config.name) for config in self._config.backends)}
            if left <= set(read_completed(lock_path(self.folder))):
                return False  # it saw the end of this training, and exited when its work was done
            if self.is_alive():
                return True
            if self._starts > 1:
                guard.say(
                    "the agent process has died twice; the training and its recording continue. See agent.log in "
                    f"{self.folder}. To deliver: tracelet sync {self.folder.name}",
                    once=f"agent:{self.folder}",
                )
                return False
            self._start_process()
            return True

    def stop(self) -> None:
        """Stop supervising it. The agent continues."""
        self._stopping.set()
        if self._pid != os.getpid() or self._thread is threading.current_thread():
            return
        if self._thread.is_alive():
            self._thread.join(CHECK_INTERVAL)
        self._close_pipe()

    def _close_pipe(self) -> None:
        """Close the pipe, which tells the agent that the training is done, and reap the starting process."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            try:
                process.stdin.close()
            except OSError as error:
                guard.logger.debug("tracelet: the agent does not listen: %s", error)
        self._reap(process)

    @staticmethod
    def _reap(process: subprocess.Popen[bytes] | None) -> None:
        """Wait for the started process, which ends as soon as it has forked, so that a program that waits for its
        children does not find it.
        """
        if process is None:
            return
        try:
            process.wait(START_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.returncode = 0  # nothing waits for it any more; avoids Python's warning


def _environment() -> dict[str, str]:
    """The training's environment, without the variables that would make the agent record itself."""
    kept = {**os.environ, "TRACELET_ENABLED": "false"}
    kept.pop("TRACELET_AUTOSTART", None)
    return kept
