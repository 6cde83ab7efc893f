"""Determines why a process ended without a final status, from its wait status and the kernel's count of OOM kills.

Used by `process_watch` on the agent's main thread, never in the training process. The agent is not the parent of the
processes it watches, so it reads the wait status from a pidfd (Linux 6.15 and newer) or from a zombie; if neither is
available, the cause is unknown. Sends no signal, traces nothing, and waits for no process.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from tracelet.journal.records import FAILED, FINISHED, INTERRUPTED, KILLED, PREEMPTED
from tracelet.store.pids import process_start
from tracelet.store.process_status import NO_EXIT_RECORD

PIDFD_INFO_EXIT = 1 << 3
PIDFD_INFO_SIZE = 64
"""The structure's first version, understood by all kernels that have this call."""
PIDFD_GET_INFO = 3 << 30 | PIDFD_INFO_SIZE << 16 | 0xFF << 8 | 11
WINDOW = 30.0
"""Maximum age in seconds of an out-of-memory kill: the kernel counts it first, and a large process takes
long to exit.
"""
PREEMPTION_SIGNALS = frozenset({"SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU"})
"""Clusters send these when a job's time is over; they end a program that does not handle them."""
INTERRUPT_SIGNALS = frozenset({"SIGINT", "SIGHUP"})
"""Ctrl-C, and a closed terminal."""
CRASHES = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSYS", "SIGTRAP"})
OUT_OF_MEMORY = "out of memory: the kernel killed the process"


class ExitWatcher:
    """Watches one process of this host while it is alive."""

    def __init__(self, pid: int, started: float) -> None:
        self._pid = pid
        self._descriptor = _open(pid, started)
        self._counter = oom_counter_path(pid)
        self._counts: deque[tuple[float, int]] = deque()
        self._status: int | None = None

    def update(self) -> None:
        """While it is alive: read how many processes the kernel has killed so far."""
        now = time.monotonic()
        self._counts.append((now, read_oom_count(self._counter)))
        while len(self._counts) > 2 and self._counts[1][0] < now - WINDOW:
            self._counts.popleft()

    def status_and_reason(self) -> tuple[str, str]:
        """(status, reason) of the process, which has ended."""
        if self._status is None:
            self._status = self._wait_status()
        short_of_memory = bool(self._counts) and read_oom_count(self._counter) > self._counts[0][1]
        return classify(self._status, short_of_memory)

    def _wait_status(self) -> int | None:
        return _pidfd_status(self._descriptor) if (status := _zombie_status(self._pid)) is None else status

    def close(self) -> None:
        """Close the pidfd."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def classify(wait_status: int | None, short_of_memory: bool) -> tuple[str, str]:
    """(status, reason) from a wait status (None if unknown), and whether the kernel has just run out of memory."""
    if wait_status is None:
        return KILLED, OUT_OF_MEMORY if short_of_memory else NO_EXIT_RECORD
    if not os.WIFSIGNALED(wait_status):
        code = os.waitstatus_to_exitcode(wait_status)
        return FAILED if code else FINISHED, f"exit code {code}, probably from os._exit()"
    number = os.WTERMSIG(wait_status)
    name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
    if name == "SIGKILL":
        return KILLED, OUT_OF_MEMORY if short_of_memory else name
    if name in CRASHES:
        return FAILED, f"crash: {name}"
    return PREEMPTED if name in PREEMPTION_SIGNALS else INTERRUPTED if name in INTERRUPT_SIGNALS else KILLED, name


def _open(pid: int, started: float) -> int:
    """A pidfd of exactly this process, -1 if there is none."""
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return -1
    if process_start(pid) == started:
        return descriptor
    os.close(descriptor)
    return -1


def _pidfd_status(descriptor: int) -> int | None:
    if descriptor < 0:
        return None
    import fcntl

    answer = bytearray(PIDFD_INFO_SIZE)
    struct.pack_into("=Q", answer, 0, PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(descriptor, PIDFD_GET_INFO, answer)
    except OSError:  # an older kernel, or the process ended before it was opened
        return None
    (mask,) = struct.unpack_from("=Q", answer, 0)
    (status,) = struct.unpack_from("=i", answer, PIDFD_INFO_SIZE - 4)
    return int(status) if mask & PIDFD_INFO_EXIT else None


def _zombie_status(pid: int) -> int | None:
    """The wait status of a process that its parent has not waited for yet."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return int(fields[49]) if fields[0] == "Z" else None
    except (OSError, ValueError, IndexError):
        return None


def oom_counter_path(pid: int, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Path:
    """The file with the kernel's count of OOM kills for this process: its cgroup's, else the whole machine's."""
    lines = []
    with suppress(OSError):
        lines = (proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root, name = (groups / "memory", "memory.oom_control") if controllers else (groups, "memory.events")
        # In a container the path may be the host's; then the container's own cgroup is mounted.
        for folder in (root / path.lstrip("/"), root):
            if (folder / name).is_file():
                return folder / name
    return proc / "vmstat"


def read_oom_count(counter: Path) -> int:
    """The number of processes that the kernel has killed for lack of memory; 0 if unreadable."""
    with suppress(OSError, ValueError):
        for line in counter.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
