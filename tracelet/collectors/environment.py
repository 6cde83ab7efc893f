"""Reads the program's environment once, on the scheduler's thread: Python, packages, machine, command, job.

Reads only the environment variables in `VARIABLES`, never all of them. Never imports torch; facts about torch are added
once the user's program has imported it. Never initializes CUDA. Secrets in the command line are masked, see
`tracelet.redaction.masking`.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracelet.guard import guard
from tracelet.redaction.masking import mask_arguments, mask_text

ARGUMENT_CAP = 4096
"""Characters kept of one argument: `python -c` may contain a whole program."""

ARGUMENTS_CAP = 1000
"""Arguments kept: a shell expands `data/*.jpg` into one per file."""

VALUE_CAP = 500
"""Characters kept of one environment variable."""

VARIABLES: dict[str, tuple[str, ...]] = {
    "slurm": (
        "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_JOB_PARTITION", "SLURM_CLUSTER_NAME", "SLURM_ARRAY_JOB_ID",
        "SLURM_ARRAY_TASK_ID", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS",
        "SLURM_JOB_NUM_NODES", "SLURM_CPUS_PER_TASK", "SLURM_RESTART_COUNT", "SLURM_JOB_GPUS",
    ),
    "torchrun": (
        "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS", "RANK", "LOCAL_RANK",
        "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    ),
    "mpi": (
        "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE",
        "PMIX_RANK", "MPI_LOCALRANKID",
    ),
    "lsf": ("LSB_JOBID", "LSB_JOBNAME", "LSB_JOBINDEX", "LSB_QUEUE"),
    "pbs": ("PBS_JOBID", "PBS_JOBNAME", "PBS_QUEUE", "PBS_ARRAY_INDEX"),
    "sge": ("SGE_TASK_ID", "JOB_ID", "JOB_NAME", "QUEUE"),
    "kubernetes": ("POD_NAME", "POD_NAMESPACE", "JOB_COMPLETION_INDEX", "NODE_NAME"),
    "numerics": (
        "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG",
        "CUDA_LAUNCH_BLOCKING", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED",
        "PL_GLOBAL_SEED", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF",
    ),
}  # fmt: skip
"""Every recorded environment variable, by who sets it: ids of jobs and ranks, and settings that change results."""

_INSTALLED = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info")


class EnvironmentCollector:
    """Python, packages, machine, command line, job ids and, once it is imported, torch."""

    topic = "environment"

    def __init__(self) -> None:
        self._torch_state_read = (False, False)

    def collect(self) -> Mapping[str, Any]:
        """The facts, without those that cannot be read on this platform."""
        self._torch_state_read = _torch_state()
        facts: dict[str, Any] = {}
        for name, read in (
            ("python", _python),
            ("platform", _platform),
            ("machine", _machine),
            ("command", _command),
            ("job", _variables),
            ("packages", _packages),
            ("torch", _torch_facts),
        ):
            with guard(f"reading the environment's {name}"):
                if found := read():
                    facts[name] = found
        return facts

    def stale(self) -> bool:
        """Whether the user's program imported torch or initialized CUDA after the facts were read."""
        return self._torch_state_read != _torch_state()


def _python() -> dict[str, Any]:
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "virtual": sys.prefix != sys.base_prefix,
        "free_threaded": not getattr(sys, "_is_gil_enabled", lambda: True)(),
    }


def _platform() -> dict[str, Any]:
    # platform.platform() and platform.processor() start a process.
    facts: dict[str, Any] = {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "hostname": socket.gethostname(),
        "containers": _containers(),
    }
    if sys.platform == "linux":
        try:
            facts["distribution"] = platform.freedesktop_os_release().get("PRETTY_NAME", "")
            facts["libc"] = " ".join(platform.libc_ver())
        except OSError:
            pass
    try:
        facts["user"] = getpass.getuser()
    except (OSError, KeyError, ImportError):
        pass  # a container may run as a user without a name
    return facts


def _containers() -> list[str]:
    signs = {
        "docker": Path("/.dockerenv").exists(),
        "podman": Path("/run/.containerenv").exists(),
        "apptainer": "APPTAINER_CONTAINER" in os.environ or "SINGULARITY_CONTAINER" in os.environ,
        "kubernetes": "KUBERNETES_SERVICE_HOST" in os.environ,
        "colab": "COLAB_RELEASE_TAG" in os.environ,
        "wsl": "microsoft" in platform.release().lower(),
    }
    return [name for name, seen in signs.items() if seen]


def _machine() -> dict[str, Any]:
    import psutil

    facts: dict[str, Any] = {
        "cpu_model": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "cpu_cores": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
    }
    if hasattr(os, "sched_getaffinity"):
        facts["cpu_usable"] = len(os.sched_getaffinity(0))
    limit = _first_number("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    if limit is not None and limit < facts["memory_bytes"]:
        facts["memory_limit_bytes"] = limit
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        facts["cpu_limit"] = int(quota[0]) / int(quota[1])
    return facts


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return os.environ.get("PROCESSOR_IDENTIFIER", platform.machine())


def _command() -> dict[str, Any]:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    script = sys.argv[0] if sys.argv else ""
    facts: dict[str, Any] = {
        "arguments": _capped(sys.argv),
        "original": _capped(sys.orig_argv),
        "folder": _working_folder(),
        "interactive": hasattr(sys, "ps1") or "ipykernel" in sys.modules,
    }
    if spec is not None and spec.name:
        facts["module"] = spec.name.removesuffix(".__main__")
    if script and Path(script).is_file():
        facts["script"] = str(Path(script).absolute())
    return facts


def _capped(argv: list[str]) -> list[str]:
    # Truncate after masking: the cut must not remove the marker by which a secret is recognized.
    return [argument[:ARGUMENT_CAP] for argument in mask_arguments(argv[:ARGUMENTS_CAP])]


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it was deleted in the meantime


def _variables() -> dict[str, dict[str, str]]:
    found = {
        group: {name: mask_text(os.environ[name])[:VALUE_CAP] for name in names if name in os.environ}
        for group, names in VARIABLES.items()
    }
    if not found["sge"].keys() & {"SGE_TASK_ID"}:
        del found["sge"]  # its other names are too common to be conclusive
    return {group: values for group, values in found.items() if values}


def _packages() -> dict[str, str]:
    """Name to version of each installed package; the first on the path counts. Uses folder names where they contain
    both.

    That is 20 times faster than `importlib.metadata.distributions()`, and holds the GIL for that much less time.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            entries = [entry for entry in os.scandir(folder or ".") if entry.name.endswith("-info")]
        except OSError:
            continue  # a zip file, or a missing folder
        for entry in entries:
            name, version = _distribution(entry)
            if name and version:
                found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return dict(sorted(found.items()))


def _distribution(entry: os.DirEntry[str]) -> tuple[str, str]:
    match = _INSTALLED.fullmatch(entry.name)
    if match is not None:
        return match["name"], match["version"]
    lines = (_read(f"{entry.path}/PKG-INFO") or _read(entry.path)).partition("\n\n")[0].splitlines()
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    return fields.get("Name", ""), fields.get("Version", "")


def _torch() -> Any:
    """The torch module, if the user's program has imported it completely."""
    torch = sys.modules.get("torch")
    if torch is None or getattr(getattr(torch, "__spec__", None), "_initializing", False):
        return None
    return torch if hasattr(torch, "version") and hasattr(torch, "cuda") else None


def _torch_state() -> tuple[bool, bool]:
    """(imported, CUDA initialised)"""
    torch = _torch()
    return torch is not None, torch is not None and bool(torch.cuda.is_initialized())


def _torch_facts() -> dict[str, Any]:
    torch = _torch()
    if torch is None:
        return {}
    version = torch.version
    facts: dict[str, Any] = {
        "version": str(torch.__version__),
        "cuda": getattr(version, "cuda", None),
        "hip": getattr(version, "hip", None),
        "git": getattr(version, "git_version", None),
        "debug": bool(getattr(version, "debug", False)),
    }
    # If asked earlier, these could start CUDA, after which the user's program could not fork.
    if torch.cuda.is_initialized():
        facts["cudnn"] = torch.backends.cudnn.version()
        facts["devices"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return facts


def _first_number(*paths: str) -> int | None:
    return next((int(text) for path in paths if (text := _read(path).strip()).isdigit()), None)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
