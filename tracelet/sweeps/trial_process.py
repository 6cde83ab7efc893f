"""The process of one trial: starts the command with recording, adopts one that another controller started, stops it.

Used by controllers on one thread. The process has its own session, so that a Ctrl-C in the terminal reaches the
controller alone; it inherits the trial's lock and outlives a killed controller.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tracelet.errors import SweepError
from tracelet.sweeps.trial_lock import TrialLock

KILL_AFTER = 30.0
"""Seconds from SIGTERM to SIGKILL, as in wandb's agent: Lightning ends the batch and may write a checkpoint."""
SETTING_PREFIX = "TRACELET_"


class TrialProcess:
    """A process that runs a trial."""

    def __init__(self, lock: TrialLock, pid_file: Path) -> None:
        self._lock = lock
        self._pid_file = pid_file
        self._process: subprocess.Popen[bytes] | None = None
        self._asked_to_stop = 0.0

    def start(self, command: Sequence[str], environment: Mapping[str, str], folder: str, log: Path) -> None:
        """Start the command; the caller holds the lock, and gives it away. SweepError if there is no such program."""
        try:
            with open(log, "ab") as output:
                self._process = subprocess.Popen(
                    command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT, start_new_session=True, pass_fds=[self._lock.descriptor],
                )  # fmt: skip
        except OSError as error:
            raise SweepError(f"the command {command[0]!r} cannot be started ({error.strerror or error})") from None
        finally:
            self._lock.release()
        self._pid_file.write_text(str(self._process.pid), encoding="ascii")

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None if self._process is not None else self._lock.is_free

    @property
    def exit_code(self) -> int | None:
        """The exit code; None for a process of another controller."""
        return None if self._process is None else self._process.returncode

    def stop(self, recorded_pid: Callable[[], int]) -> None:
        """Ask the process to end, once; kill it if it has not after `KILL_AFTER` seconds. To be called repeatedly."""
        now = time.monotonic()
        if not self._asked_to_stop:
            self._asked_to_stop = now
            # The recorded process alone: its DataLoader workers must not die before it has ended its batch.
            self._signal(recorded_pid() or self._pid(), signal.SIGTERM)
        elif now > self._asked_to_stop + KILL_AFTER:
            self.kill()

    def kill(self) -> None:
        """Kill the process and those that it started."""
        pid = self._pid()
        if pid and not self.has_ended:
            try:
                os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                return

    def _signal(self, pid: int, number: int) -> None:
        if pid and not self.has_ended:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                return

    def _pid(self) -> int:
        if self._process is not None:
            return self._process.pid
        try:
            return int(self._pid_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0
