"""Reads the properties and the load of NVIDIA GPUs through NVML (`nvidia-ml-py`). Called on the scheduler's thread.

NVML talks to the driver without creating a CUDA context, so it takes no GPU memory and disturbs neither fork nor
kernels. Without a driver it raises `Absent`, which is not a failure. A value that a GPU model does not support is
omitted; the others are read. It samples the GPUs that the program may see (`CUDA_VISIBLE_DEVICES`), or all of them if
the node has more ranks than that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from tracelet.collectors import process_tree
from tracelet.errors import Absent

TASKS_PER_NODE = ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE", "OMPI_COMM_WORLD_LOCAL_SIZE")
"""The number of ranks on this node. A launcher may show each only its own GPU, and one rank samples for all."""

Query = Callable[[Any, Any], Mapping[str, float]]
"""(the pynvml module, a device's handle) to the values, named without the device."""


class GpuCollector:
    """Utilization, memory, temperature, power, clocks and fan of each GPU, and the memory that our processes hold."""

    name = "gpu"

    def __init__(self, pid: int | None = None, every: float = 0.0) -> None:
        self.every = every
        self._pid = process_tree.root_pid() if pid is None else pid
        self._nvml: Any = None
        self._devices: dict[int, Any] = {}
        self._unsupported: set[tuple[int, Query]] = set()

    def start(self) -> None:
        """Connect to the driver; raise `Absent` without a driver or a visible GPU."""
        self._nvml = _connect()
        handles = _handles(self._nvml)
        ours = _visible_to_run(self._nvml, len(handles))
        self._devices = {index: handle for index, handle in enumerate(handles) if index in ours}
        if not self._devices:
            self.stop()
            raise Absent("no GPU is visible to this program")

    def sample(self) -> Mapping[str, float]:
        """One sample of every device, as `0/utilisation_percent` and so on. Raises only if no device answers."""
        found: dict[str, float] = {}
        failure: Exception | None = None
        pids = {process.pid for process in process_tree.tree(self._pid)}
        for index, device in self._devices.items():
            for query in QUERIES:
                if (index, query) in self._unsupported:
                    continue
                try:
                    figures = query(self._nvml, device)
                except self._nvml.NVMLError as error:
                    failure = error
                    if _is_permanent(self._nvml, error):
                        self._unsupported.add((index, query))
                    continue
                found.update((f"{index}/{name}", value) for name, value in figures.items())
            found.update(self._process_memory(index, device, pids))
        if failure is not None and not found:
            raise failure
        return found

    def _process_memory(self, index: int, device: Any, pids: set[int]) -> dict[str, float]:
        try:
            users = self._nvml.nvmlDeviceGetComputeRunningProcesses(device)
        except self._nvml.NVMLError:
            return {}
        # In a container NVML may report the host's process ids. Then none is ours; the value is omitted rather than 0.
        held = [user.usedGpuMemory or 0 for user in users if user.pid in pids]
        return {f"{index}/process_memory_bytes": float(sum(held))} if held else {}

    def stop(self) -> None:
        """Disconnect from the driver."""
        if self._nvml is not None:
            nvml, self._nvml = self._nvml, None
            nvml.nvmlShutdown()


class GpuFacts:
    """The machine's GPUs, which of them belong to this run, and the driver."""

    topic = "gpu"

    def collect(self) -> Mapping[str, Any]:
        """The facts; raises `Absent` without a driver."""
        nvml = _connect()
        try:
            handles = _handles(nvml)
            ours = _visible_to_run(nvml, len(handles))
            return {
                "driver": _text(nvml.nvmlSystemGetDriverVersion()),
                "cuda_driver": nvml.nvmlSystemGetCudaDriverVersion_v2() / 1000,
                "devices": [
                    {
                        "index": index,
                        "name": _text(nvml.nvmlDeviceGetName(device)),
                        "uuid": _text(nvml.nvmlDeviceGetUUID(device)),
                        "memory_bytes": int(nvml.nvmlDeviceGetMemoryInfo(device).total),
                        "ours": index in ours,
                    }
                    for index, device in enumerate(handles)
                ],
            }
        finally:
            nvml.nvmlShutdown()


def _connect() -> Any:
    try:
        import pynvml
    except ImportError:
        raise Absent("nvidia-ml-py is not installed") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise Absent(f"no NVIDIA driver: {error}") from None
    return pynvml


def _handles(nvml: Any) -> list[Any]:
    return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]


def _visible_to_run(nvml: Any, count: int) -> set[int]:
    """The numbers of the GPUs that belong to this run on this node."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return set(range(count))
    found: set[int] = set()
    for name in visible.split(","):
        index = _index(nvml, name.strip())
        if index is None or not 0 <= index < count:
            break  # CUDA too stops at the first unknown name
        found.add(index)
    tasks = next((int(os.environ[name]) for name in TASKS_PER_NODE if os.environ.get(name, "").isdigit()), 1)
    return set(range(count)) if 0 < len(found) < tasks else found


def _index(nvml: Any, name: str) -> int | None:
    """The number of the GPU with this name; for a MIG instance, the number of the GPU that it is part of."""
    if name.isdigit():
        return int(name)
    try:
        if name.startswith("MIG-"):
            instance = nvml.nvmlDeviceGetHandleByUUID(name)
            return int(nvml.nvmlDeviceGetIndex(nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance)))
    except nvml.NVMLError:
        return None
    if not name.startswith("GPU-"):
        return None
    uuids = [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in _handles(nvml)]
    return next((index for index, uuid in enumerate(uuids) if uuid.startswith(name)), None)


def _is_permanent(nvml: Any, error: Exception) -> bool:
    """Whether asking again is useless: this GPU, driver or user never supports it."""
    return getattr(error, "value", None) in (
        nvml.NVML_ERROR_NOT_SUPPORTED,
        nvml.NVML_ERROR_NO_PERMISSION,
        nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        nvml.NVML_ERROR_INVALID_ARGUMENT,
    )


def _utilisation(nvml: Any, device: Any) -> Mapping[str, float]:
    rates = nvml.nvmlDeviceGetUtilizationRates(device)
    return {"utilisation_percent": float(rates.gpu), "memory_utilisation_percent": float(rates.memory)}


def _memory(nvml: Any, device: Any) -> Mapping[str, float]:
    memory = nvml.nvmlDeviceGetMemoryInfo(device)
    return {
        "memory_used_bytes": float(memory.used),
        "memory_total_bytes": float(memory.total),
        "memory_percent": 100.0 * memory.used / memory.total if memory.total else 0.0,
    }


def _temperature(nvml: Any, device: Any) -> Mapping[str, float]:
    return {"temperature_celsius": float(nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU))}


def _power(nvml: Any, device: Any) -> Mapping[str, float]:
    return {"power_watts": nvml.nvmlDeviceGetPowerUsage(device) / 1000}


def _power_limit(nvml: Any, device: Any) -> Mapping[str, float]:
    return {"power_limit_watts": nvml.nvmlDeviceGetEnforcedPowerLimit(device) / 1000}


def _clock(nvml: Any, device: Any) -> Mapping[str, float]:
    return {"clock_mhz": float(nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM))}


def _memory_clock(nvml: Any, device: Any) -> Mapping[str, float]:
    return {"memory_clock_mhz": float(nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM))}


def _fan(nvml: Any, device: Any) -> Mapping[str, float]:
    return {"fan_percent": float(nvml.nvmlDeviceGetFanSpeed(device))}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


QUERIES: tuple[Query, ...] = (
    _utilisation,
    _memory,
    _temperature,
    _power,
    _power_limit,
    _clock,
    _memory_clock,
    _fan,
)
