"""Samples the machine's load, and our processes' share of it, with psutil. Called on the scheduler's thread.

CPU percentages and rates are differences between two samples, kept here: psutil's own memory of earlier calls belongs
to the user's program. The first sample therefore has none. Values that a platform lacks are omitted.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tracelet.collectors import process_tree

LOOPBACK = ("lo", "Loopback")
"""Interfaces for traffic within the machine; ranks on one node would hide the real traffic."""

CGROUP_MEMORY = (
    ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.max"),
    ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""(used, limit) of the container, cgroup versions 2 and 1: the limit that applies to the job."""


class SystemCollector:
    """CPU, load, memory, swap, disk, network, and the share of one process and its descendants in them."""

    name = "system"

    def __init__(self, pid: int | None = None, folder: str = ".", every: float = 0.0) -> None:
        self.every = every
        self._pid = process_tree.root_pid() if pid is None else pid
        self._folder = folder
        self._counters: dict[str, float] = {}
        self._cpu: tuple[float, float] | None = None
        self._cpu_seconds: dict[tuple[int, float], float] = {}
        self._sampled_at: float | None = None

    def start(self) -> None:
        """Fix the folder whose disk is sampled, so that a later `chdir` of the user's program does not change the
        series.
        """
        import psutil  # noqa: F401  # a missing psutil is told here, once

        try:
            self._folder = str(Path(self._folder).absolute())
        except FileNotFoundError:
            return  # the working directory was deleted, and so has no disk to sample

    def sample(self) -> Mapping[str, float]:
        """One reading; rates from the second on."""
        now = time.monotonic()
        seconds = 0.0 if self._sampled_at is None else now - self._sampled_at
        self._sampled_at = now
        found = self._load()
        found.update(self._memory())
        found.update(self._disk())
        found.update(self._rates(_counters(), seconds))
        found.update(self._processes(seconds))
        return found

    def stop(self) -> None:
        """Does nothing: the collector holds no resources."""

    def _load(self) -> dict[str, float]:
        import psutil

        found: dict[str, float] = {}
        if hasattr(os, "getloadavg"):
            found["load_1m"] = os.getloadavg()[0]
        times = psutil.cpu_times()
        # User time already includes guest time; during iowait and steal this machine did not compute.
        idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        before, self._cpu = self._cpu, (idle, total)
        if before is not None and total > before[1]:
            busy = 1.0 - (idle - before[0]) / (total - before[1])
            found["cpu_percent"] = 100.0 * min(1.0, max(0.0, busy))
        return found

    def _memory(self) -> dict[str, float]:
        import psutil

        memory = psutil.virtual_memory()
        found = {
            "memory_percent": memory.percent,
            "memory_used_bytes": float(memory.used),
            "memory_available_bytes": float(memory.available),
        }
        for used, limit in CGROUP_MEMORY:
            most = _number(limit)
            if most is not None and most < memory.total:
                found["memory_limit_percent"] = 100.0 * (_number(used) or 0) / most
        if (swap := _swap_used()) is not None:
            found["swap_used_bytes"] = swap
        return found

    def _disk(self) -> dict[str, float]:
        import psutil

        try:
            disk = psutil.disk_usage(self._folder)
        except OSError:
            return {}  # the folder was removed or unmounted
        return {"disk_percent": disk.percent, "disk_used_bytes": float(disk.used), "disk_free_bytes": float(disk.free)}

    def _rates(self, counters: dict[str, float], seconds: float) -> dict[str, float]:
        before, self._counters = self._counters, counters
        if seconds <= 0:
            return {}
        return {
            f"{name}_per_second": (count - before[name]) / seconds
            for name, count in counters.items()
            if name in before and count >= before[name]  # a counter that wrapped, or whose device was removed
        }

    def _processes(self, seconds: float) -> dict[str, float]:
        import psutil

        spent: dict[tuple[int, float], float] = {}
        resident = threads = files = 0
        for process in process_tree.tree(self._pid):
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    spent[process.pid, process.create_time()] = times.user + times.system
                    resident += process.memory_info().rss
                    threads += process.num_threads()
                    files += process.num_fds() if hasattr(process, "num_fds") else 0
            except psutil.Error:
                continue  # it ended in the meantime, or access is denied
        if not spent:
            return {}
        before, self._cpu_seconds = self._cpu_seconds, spent
        found = {"processes": float(len(spent)), "process_threads": float(threads)}
        found["process_memory_bytes"] = float(resident)
        if files:
            found["process_open_files"] = float(files)
        if seconds > 0 and before:
            used = sum(now - before.get(key, 0.0) for key, now in spent.items())
            found["process_cpu_percent"] = 100.0 * max(0.0, used) / seconds
        return found


def _counters() -> dict[str, float]:
    """Bytes since boot, over all disks and all networks but the loopback. Does not use psutil's own wrap cache."""
    import psutil

    found: dict[str, float] = {}
    try:
        disks = psutil.disk_io_counters(nowrap=False)
    except (OSError, NotImplementedError):
        disks = None  # a sandbox without /proc/diskstats
    if disks is not None:
        found["disk_read_bytes"] = float(disks.read_bytes)
        found["disk_written_bytes"] = float(disks.write_bytes)
    networks = psutil.net_io_counters(pernic=True, nowrap=False)
    real = [counters for name, counters in networks.items() if not name.startswith(LOOPBACK)]
    if real:
        found["network_received_bytes"] = float(sum(counters.bytes_recv for counters in real))
        found["network_sent_bytes"] = float(sum(counters.bytes_sent for counters in real))
    return found


def _swap_used() -> float | None:
    """Bytes of swap in use. psutil warns where it cannot read them; that warning must not reach the user."""
    if sys.platform != "linux":
        return None
    fields: dict[str, int] = {}
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith(("SwapTotal:", "SwapFree:")):
                    name, value, _ = line.split()
                    fields[name] = int(value) * 1024
    except (OSError, ValueError):
        return None
    if len(fields) < 2 or not fields["SwapTotal:"]:
        return None
    return float(fields["SwapTotal:"] - fields["SwapFree:"])


def _number(path: str) -> int | None:
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdigit() else None
