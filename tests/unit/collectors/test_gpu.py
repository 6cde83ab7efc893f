"""The GPU collector. No GPU is at hand where these tests run, and NVML is a C library of the driver that cannot be had
without one: `Driver` below stands in for the part of the module `pynvml` that is used, with its real exceptions and
constants. Without it, the tests of the real library say what a machine without a driver gives.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pynvml
import pytest

from tracelet.collectors.gpu import GpuCollector, GpuFacts
from tracelet.errors import Absent

GIB = 2**30
Driver = Callable[..., ModuleType]


def refuse(code: int) -> Callable[..., Any]:
    """A query that this GPU answers with an error, as pynvml raises it."""

    def query(*_: object) -> None:
        raise pynvml.NVMLError(code)

    return query


def make_driver(count: int, calls: list[str], **replaced: Any) -> ModuleType:
    """The module `pynvml` as it is on a machine with `count` GPUs; the handles are their numbers."""
    module = ModuleType("pynvml")
    module.__dict__.update({name: value for name, value in vars(pynvml).items() if name.startswith("NVML")})
    ours = SimpleNamespace(pid=os.getpid(), usedGpuMemory=3 * GIB)
    other = SimpleNamespace(pid=1, usedGpuMemory=GIB)
    surface: dict[str, Any] = {
        "nvmlInit": lambda: calls.append("init"),
        "nvmlShutdown": lambda: calls.append("shutdown"),
        "nvmlDeviceGetCount": lambda: count,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda device: f"NVIDIA H{device}00",
        "nvmlDeviceGetUUID": lambda device: f"GPU-{device}{device}-abc",
        "nvmlDeviceGetHandleByUUID": lambda uuid: f"instance {uuid}",
        "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda instance: int(instance[-1]),
        "nvmlDeviceGetIndex": lambda device: device,
        "nvmlSystemGetDriverVersion": lambda: "580.1",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 13000,
        "nvmlDeviceGetUtilizationRates": lambda device: SimpleNamespace(gpu=90 + device, memory=40),
        "nvmlDeviceGetMemoryInfo": lambda device: SimpleNamespace(used=20 * GIB, total=80 * GIB),
        "nvmlDeviceGetTemperature": lambda device, sensor: 60 + sensor,
        "nvmlDeviceGetPowerUsage": lambda device: 350_500,
        "nvmlDeviceGetEnforcedPowerLimit": lambda device: 700_000,
        "nvmlDeviceGetClockInfo": lambda device, clock: 1000 + clock,
        "nvmlDeviceGetFanSpeed": refuse(pynvml.NVML_ERROR_NOT_SUPPORTED),
        "nvmlDeviceGetComputeRunningProcesses": lambda device: [ours, other] if device == 0 else [other],
    }
    module.__dict__.update({**surface, **replaced})
    return module


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Puts a driver with so many GPUs in place of the machine's."""
    for name in ("CUDA_VISIBLE_DEVICES", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)

    def install(count: int = 2, calls: list[str] | None = None, **replaced: Any) -> ModuleType:
        module = make_driver(count, [] if calls is None else calls, **replaced)
        monkeypatch.setitem(sys.modules, "pynvml", module)
        return module

    return install


def test_a_machine_without_a_driver_has_no_gpu_metrics() -> None:
    """The real library, without a driver: absent, both for the figures and for the facts."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        pass
    else:
        pynvml.nvmlShutdown()
        pytest.skip("this machine has a driver")
    with pytest.raises(Absent, match="no NVIDIA driver"):
        GpuCollector().start()
    with pytest.raises(Absent, match="no NVIDIA driver"):
        GpuFacts().collect()


def test_the_real_library_has_all_that_is_used() -> None:
    """Every function and constant that the stand-in offers exists in the real module."""
    assert [name for name in vars(make_driver(1, [])) if name[:4].lower() == "nvml" and not hasattr(pynvml, name)] == []


def test_each_gpu_has_its_figures(driver: Driver) -> None:
    """Names carry the GPU's number and the unit; watts are watts."""
    calls: list[str] = []
    driver(2, calls)
    collector = GpuCollector()
    collector.start()
    sample = collector.sample()
    collector.stop()
    collector.stop()
    assert {name: value for name, value in sample.items() if name.startswith("0/")} == {
        "0/utilisation_percent": 90.0,
        "0/memory_utilisation_percent": 40.0,
        "0/memory_used_bytes": 20.0 * GIB,
        "0/memory_total_bytes": 80.0 * GIB,
        "0/memory_percent": 25.0,
        "0/temperature_celsius": 60.0 + pynvml.NVML_TEMPERATURE_GPU,
        "0/power_watts": 350.5,
        "0/power_limit_watts": 700.0,
        "0/clock_mhz": 1000.0 + pynvml.NVML_CLOCK_SM,
        "0/memory_clock_mhz": 1000.0 + pynvml.NVML_CLOCK_MEM,
        "0/process_memory_bytes": 3.0 * GIB,
    }
    assert sample["1/utilisation_percent"] == 91.0
    assert "1/process_memory_bytes" not in sample
    assert calls == ["init", "shutdown"]


@pytest.mark.parametrize(
    ("function", "lost"),
    [
        ("nvmlDeviceGetUtilizationRates", {"utilisation_percent", "memory_utilisation_percent"}),
        ("nvmlDeviceGetPowerUsage", {"power_watts"}),
        ("nvmlDeviceGetTemperature", {"temperature_celsius"}),
        ("nvmlDeviceGetComputeRunningProcesses", {"process_memory_bytes"}),
    ],
)
def test_an_unsupported_query_costs_only_its_own_figures(driver: Driver, function: str, lost: set[str]) -> None:
    """What one model of GPU does not know is missing; everything else is there."""
    driver(1)
    collector = GpuCollector()
    collector.start()
    whole = collector.sample().keys()
    driver(1, **{function: refuse(pynvml.NVML_ERROR_NOT_SUPPORTED)})
    collector = GpuCollector()
    collector.start()
    assert whole - collector.sample().keys() == {f"0/{name}" for name in lost}


def test_an_unsupported_query_is_not_asked_again_but_a_failed_one_is(driver: Driver) -> None:
    """Not supported is for good; a hiccup of the driver is not."""
    asked: list[str] = []

    def failing(name: str, code: int) -> Callable[..., Any]:
        def query(*_: object) -> None:
            asked.append(name)
            raise pynvml.NVMLError(code)

        return query

    driver(
        1,
        nvmlDeviceGetFanSpeed=failing("fan", pynvml.NVML_ERROR_NOT_SUPPORTED),
        nvmlDeviceGetPowerUsage=failing("power", pynvml.NVML_ERROR_UNKNOWN),
    )
    collector = GpuCollector()
    collector.start()
    for _ in range(3):
        assert "0/temperature_celsius" in collector.sample()
    assert (asked.count("fan"), asked.count("power")) == (1, 3)


def test_a_driver_that_is_gone_is_a_failure(driver: Driver) -> None:
    """When nothing at all answers any more, the sample raises, and the scheduler may retire the collector."""
    lost = refuse(pynvml.NVML_ERROR_GPU_IS_LOST)
    functions = [name for name in vars(make_driver(1, [])) if name.startswith("nvmlDeviceGet")]
    module = driver(1)
    collector = GpuCollector()
    collector.start()
    for function in functions:
        setattr(module, function, lost)
    with pytest.raises(pynvml.NVMLError):
        collector.sample()


@pytest.mark.parametrize(
    ("visible", "ours"),
    [
        (None, {0, 1, 2, 3}),
        ("1", {1}),
        ("3, 0", {0, 3}),
        ("1,9,2", {1}),
        ("GPU-22", {2}),
        ("GPU-22-abc,GPU-00-abc", {0, 2}),
        ("MIG-instance-of-3", {3}),
    ],
)
def test_only_visible_gpus_are_ours(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str | None, ours: set[int]
) -> None:
    """CUDA_VISIBLE_DEVICES is read as CUDA reads it: numbers, ids, beginnings of ids, up to the first unknown."""
    driver(4)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    collector = GpuCollector()
    collector.start()
    assert {int(name.partition("/")[0]) for name in collector.sample()} == ours
    facts = GpuFacts().collect()
    assert {device["index"] for device in facts["devices"] if device["ours"]} == ours
    assert len(facts["devices"]) == 4


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_hiding_all_gpus_leaves_none_to_sample(driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    """A program that may see no GPU gets no GPU metrics, and the driver is let go."""
    calls: list[str] = []
    driver(2, calls)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(Absent, match="no GPU is visible"):
        GpuCollector().start()
    assert calls == ["init", "shutdown"]


def test_where_each_rank_sees_its_own_gpu_one_samples_for_all(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four ranks on a node with one visible GPU each: the rank that samples takes them all."""
    driver(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    collector = GpuCollector()
    collector.start()
    assert "3/utilisation_percent" in collector.sample()


def test_facts_name_the_driver_and_the_gpus(driver: Driver) -> None:
    """The names, sizes and versions are told once, and the driver is let go even when a query fails."""
    calls: list[str] = []
    driver(1, calls)
    facts = GpuFacts().collect()
    assert (facts["driver"], facts["cuda_driver"]) == ("580.1", 13.0)
    assert facts["devices"] == [
        {"index": 0, "name": "NVIDIA H000", "uuid": "GPU-00-abc", "memory_bytes": 80 * GIB, "ours": True}
    ]
    driver(1, calls, nvmlDeviceGetName=refuse(pynvml.NVML_ERROR_UNKNOWN))
    with pytest.raises(pynvml.NVMLError):
        GpuFacts().collect()
    assert calls == ["init", "shutdown"] * 2
