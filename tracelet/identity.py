"""Which process of which launch this is, and the run id that all processes of a launch agree on without a word.

Read once by the session. The id is a hash of what the processes of one launch have in common (the SLURM step, torchrun's
id and parent, or the process that launched the others), so no collective call, file or server is needed to agree.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that is taken for another."""
ID_LENGTH = 10
"""50 bits: among 100,000 runs two share an id with a probability of one in 200,000."""

RANK_VARIABLES: tuple[tuple[str, str, str, str], ...] = (
    ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_NODE_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "MPI_LOCALRANKID", "PMI_NODE_RANK", "PMI_SIZE"),
)
"""(rank, local rank, node rank, world size), most specific launcher first."""


@dataclass(frozen=True)
class Identity:
    """This process among those of its launch. `group` is equal in all of them and in no other launch."""

    rank: int
    local_rank: int
    node_rank: int
    world_size: int
    host: str
    pid: int
    process_started: float
    group: str

    def run_id(self, nth: int) -> str:
        """The id of the `nth` run (from 0) that this process starts."""
        digest = hashlib.blake2b(f"{self.group}#{nth}".encode(), digest_size=8).digest()
        number = int.from_bytes(digest, "big")
        return "".join(ALPHABET[number >> 5 * place & 31] for place in range(ID_LENGTH))


def identify(environ: Mapping[str, str] | None = None) -> Identity:
    """Who this process is, from its environment and its parent."""
    env = os.environ if environ is None else environ
    rank, local_rank, node_rank, world_size = _place(env)
    return Identity(
        rank=rank, local_rank=local_rank, node_rank=node_rank, world_size=world_size, host=socket.gethostname(),
        pid=os.getpid(), process_started=process_start(os.getpid()), group=_group(env),
    )  # fmt: skip


def _place(env: Mapping[str, str]) -> tuple[int, int, int, int]:
    for names in RANK_VARIABLES:
        if names[0] in env and _number(env, names[3], 1) > 1:
            rank, local, node = (_number(env, name, 0) for name in names[:3])
            return rank, local, node, _number(env, names[3], 1)
    # Lightning's own launcher gives its children LOCAL_RANK, NODE_RANK and WORLD_SIZE, but no RANK.
    local, node, world = _number(env, "LOCAL_RANK", 0), _number(env, "NODE_RANK", 0), _number(env, "WORLD_SIZE", 1)
    if local or node:
        return local + node * _number(env, "LOCAL_WORLD_SIZE", 0), local, node, max(world, local + 1)
    return 0, 0, 0, world


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(env.get(name, default))
    except ValueError:
        return default


def _group(env: Mapping[str, str]) -> str:
    if _number(env, "SLURM_NTASKS", 1) > 1 and "SLURM_PROCID" in env:
        return "slurm:" + ":".join(env.get(f"SLURM_{part}", "") for part in ("JOB_ID", "STEP_ID", "RESTART_COUNT"))
    if "TORCHELASTIC_RUN_ID" in env:
        return "torchrun:" + _torchrun_group(env)
    if "OMPI_COMM_WORLD_RANK" in env:
        return "mpi:" + env.get("PMIX_NAMESPACE", env.get("OMPI_MCA_ess_base_jobid", ""))
    launched = "LOCAL_RANK" in env and "RANK" not in env and _number(env, "LOCAL_RANK", 0) > 0
    return _process(os.getppid() if launched else os.getpid())


def _torchrun_group(env: Mapping[str, str]) -> str:
    shared = ":".join(env.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"))
    single_node = env.get("LOCAL_WORLD_SIZE") == env.get("WORLD_SIZE")
    # torchrun's id and port are often its defaults: on one node the launching process tells two launches apart.
    return f"{shared}:{_process(os.getppid())}" if single_node else shared


def _process(pid: int) -> str:
    return f"process:{socket.gethostname()}:{_boot()}:{pid}:{process_start(pid)}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def process_start(pid: int) -> float:
    """When the process started, in seconds since boot (Linux) or since the epoch; 0.0 if there is no such process.

    Only to be compared with another call of this function on the same host: it tells a reused pid from the first one.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # Field 22; the name in field 2 may hold spaces and parentheses, so count from the last one.
        return int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
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


def is_alive(pid: int, started: float) -> bool:
    """Whether the process that had this pid and start is still there (zombies count as gone)."""
    if process_start(pid) != started:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return started > 0
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def in_worker_process() -> bool:
    """Whether multiprocessing started this process (a DataLoader worker, say)."""
    return multiprocessing.parent_process() is not None
