"""Whether a process of this host is still the one that it was: its pid together with the moment of its start.

Used by readers of runs, the agent and the session. Reads the process table and changes nothing in it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path


def process_start(pid: int) -> float:
    """When the process started, in seconds since boot (Linux) or since the epoch; 0.0 if there is no such process.

    Only to be compared with another call of this function on the same host: it tells a reused pid from the first one.
    """
    try:
        return int(stat_fields(pid)[19]) / os.sysconf("SC_CLK_TCK")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return 0.0
    except (OSError, ValueError, IndexError):
        return 0.0
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def process_age() -> float:
    """Seconds since this process started; 0.0 if unknown."""
    started = process_start(os.getpid())
    if not started:
        return 0.0
    if Path("/proc/self").exists():
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    return max(0.0, time.time() - started)


def is_alive(pid: int, started: float) -> bool:
    """Whether the process that had this pid and start is still there (zombies count as gone)."""
    if process_start(pid) != started:
        return False
    try:
        return stat_fields(pid)[0] not in ("Z", "X")
    except OSError:
        return started > 0


def stat_fields(pid: int) -> list[str]:
    """What Linux tells of a process, from its state (field 3) on: the name before that may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
