"""This process's rank and launch, and the run id that all processes of a launch derive without communicating.

Read once by the session. The id is a hash of what the processes of one launch share (the SLURM step, torchrun's id and
parent, or the launching process), so agreeing needs no collective call, file or server. What only the training knows
(ranks of several Lightning nodes, for example) is corrected once its process group exists.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tracelet.store.pids import process_start, stat_fields
from tracelet.store.run_ids import short_id

VariableNames = tuple[str, str, str, str]
SLURM: VariableNames = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS")
TORCHRUN: VariableNames = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE")
MPICH: VariableNames = ("PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "PMI_SIZE")
"""Of MPICH's and Intel's launcher; srun and Cray's set PMI_RANK as well, but no local rank of this name."""
RANK_VARIABLES: tuple[VariableNames, ...] = (
    TORCHRUN,
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "OMPI_COMM_WORLD_SIZE"),
    MPICH,
    SLURM,
    ("PMI_RANK", "PMI_LOCAL_RANK", "PALS_NODEID", "PMI_SIZE"),
)
"""(rank, local rank, node rank, world size), most specific launcher first: in a SLURM job each process that `mpirun`
starts inherits the variables of the job's script, rank 0.
"""
NO_STEP = 0xFFFFFFF0
"""SLURM's step numbers from here on are not steps of `srun`, but a job's script, its interactive shell and the like."""
RANKS_ON_NODE = frozenset({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"})
"""MPI launchers do not number their nodes, but set the number of ranks on this one; by default they fill one node after
the other. (Open MPI's NODE_RANK is a rank within the node.)
"""
MPI_LAUNCHES = ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "PALS_APID")
"""Identifies an MPI launch, equal in all its ranks; MPICH and Intel MPI have no such variable."""
SHARED_BY_NODES = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "MASTER_ADDR", "MASTER_PORT")
"""Shared by the ranks of such a launch on several nodes, if set."""


@dataclass(frozen=True)
class Identity:
    """This process's place in its launch. `group` is equal in all processes of the launch and in no other launch."""

    rank: int
    local_rank: int
    node_rank: int
    world_size: int
    host: str
    pid: int
    process_started: float
    group: str
    recurring: bool = False
    """A later launch may have the same group: if a run has had this rank already, the launch is another one."""
    stem: str = ""
    """The name of this process's journals."""

    def run_id(self, nth: int) -> str:
        """The id of the `nth` run (from 0) that this process starts."""
        return short_id(f"{self.group}#{nth}")

    @property
    def launch(self) -> str:
        """A short form of the group."""
        return hashlib.blake2b(self.group.encode(), digest_size=6).hexdigest()


def identify(environ: Mapping[str, str] | None = None, known: tuple[int, int] | None = None) -> Identity:
    """This process's identity, from its environment and its parent; `known`: torch's rank and world size."""
    env = os.environ if environ is None else environ
    rank, local_rank, node_rank, world_size = _ranks_from(env)
    index = launched_index() if environ is None else None
    if index is not None and "RANK" not in env:
        rank = local_rank = index
        world_size = max(world_size, index + 1)
    rank, world_size = known or (rank, world_size)
    first = env if environ is not None else _first_environment(os.getppid() if _is_child(env) else os.getpid()) or env
    group, recurring = _group(env, first, index)
    unsettled = known is None and node_rank > 0 and rank < world_size and _launcher(env) is None
    return Identity(
        rank=rank, local_rank=local_rank, node_rank=node_rank, world_size=world_size, host=socket.gethostname(),
        pid=os.getpid(), process_started=process_start(os.getpid()), group=group, recurring=recurring,
        stem=f"rank-n{node_rank}l{local_rank}" if unsettled else f"rank-{rank}",
    )  # fmt: skip


def _ranks_from(env: Mapping[str, str]) -> tuple[int, int, int, int]:
    names = _launcher(env)
    if names is not None:
        rank, local, node = (_number(env, name, 0) for name in names[:3])
        if names[2] in RANKS_ON_NODE:
            node = rank // node if node > 0 else 0
        return rank, local, node, _number(env, names[3], 1)
    # Lightning's own launcher gives its children LOCAL_RANK, NODE_RANK and WORLD_SIZE, but no RANK.
    local, node, world = _number(env, "LOCAL_RANK", 0), _number(env, "NODE_RANK", 0), _number(env, "WORLD_SIZE", 1)
    if local or node:
        return local + node * _number(env, "LOCAL_WORLD_SIZE", 0), local, node, max(world, local + 1)
    return 0, 0, 0, world


def _launcher(env: Mapping[str, str]) -> VariableNames | None:
    """The variables of the launcher that started this process as one of several ranks."""
    for names in RANK_VARIABLES:
        told = names[0] in env and (names is not MPICH or names[1] in env) and (names is not SLURM or _in_step(env))
        if told and _number(env, names[3], 1) > 1:
            return names
    return None


def _in_step(env: Mapping[str, str]) -> bool:
    """Whether `srun` started it: a job's script, and a shell in it, have all of SLURM's variables but this one."""
    return 0 <= _number(env, "SLURM_STEP_ID", _number(env, "SLURM_STEPID", -1)) < NO_STEP


def several_nodes() -> bool:
    """Whether the launcher of this process reports ranks on several nodes."""
    env = os.environ
    if "RANK" in env and "LOCAL_WORLD_SIZE" in env:
        return _number(env, "WORLD_SIZE", 1) > _number(env, "LOCAL_WORLD_SIZE", 1)
    names = _launcher(env)
    if names is SLURM:
        return _number(env, "SLURM_STEP_NUM_NODES", _number(env, "SLURM_NNODES", 1)) > 1
    if names is not None and names is not TORCHRUN:
        return _number(env, names[3], 1) > _ranks_here(env, names)
    # Lightning sets these itself as well, but on several nodes the user has to set them before.
    first = _first_environment(os.getppid() if _is_child(env) else os.getpid())
    return "NODE_RANK" in first and "MASTER_ADDR" in first


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(env.get(name, default))
    except ValueError:
        return default


def _is_child(env: Mapping[str, str]) -> bool:
    """Whether Lightning's own launcher has started this process: it sets the local rank but not the rank."""
    return "LOCAL_RANK" in env and "RANK" not in env and _number(env, "LOCAL_RANK", 0) > 0


def _group(env: Mapping[str, str], first: Mapping[str, str], index: int | None) -> tuple[str, bool]:
    """The key that the processes of this launch share, and whether a later launch may have the same.

    `first`: the environment with which the launching process was started.
    """
    names = _launcher(env)
    if names is SLURM:
        # A step that runs one script after the other is several launches.
        return "slurm:" + ":".join(
            env.get(f"SLURM_{part}", "") for part in ("JOB_ID", "STEP_ID", "RESTART_COUNT")
        ), True
    if "TORCHELASTIC_RUN_ID" in env:
        first_time = _number(env, "TORCHELASTIC_RESTART_COUNT", 0) == 0
        return "torchrun:" + _torchrun_group(env), first_time and env.get("LOCAL_WORLD_SIZE") != env.get("WORLD_SIZE")
    if names is not None and names is not TORCHRUN:
        return _mpi_group(env, names)
    parent = multiprocessing.parent_process()
    if index is not None and parent is not None and parent.pid is not None:
        return "spawned:" + _process(parent.pid), True
    if "NODE_RANK" in first and "MASTER_ADDR" in first:
        return "nodes:" + ":".join(first.get(f"MASTER_{part}", "") for part in ("ADDR", "PORT")), True
    return _process(os.getppid() if _is_child(env) else os.getpid()), False


def _mpi_group(env: Mapping[str, str], names: VariableNames) -> tuple[str, bool]:
    launch = next((env[name] for name in MPI_LAUNCHES if env.get(name)), "")
    shared = ":".join(env.get(name, "") for name in SHARED_BY_NODES)
    if launch or (_ranks_here(env, names) < _number(env, names[3], 1) and shared.strip(":")):
        return f"mpi:{launch or shared}", True
    return "mpi:" + _process(_above(names[0])), True


def _ranks_here(env: Mapping[str, str], names: VariableNames) -> int:
    return _number(env, names[2] if names[2] in RANKS_ON_NODE else "PMI_LOCAL_SIZE", 1)


def _above(variable: str) -> int:
    """The process that started the ranks of this node: the nearest ancestor without a rank, as wrapper scripts have
    none.
    """
    pid = os.getppid()
    while variable in _first_environment(pid):
        pid = _parent(pid)
    return pid


def _parent(pid: int) -> int:
    """0 if unknown."""
    try:
        return int(stat_fields(pid)[1])
    except (OSError, ValueError, IndexError):
        return 0


def _first_environment(pid: int) -> dict[str, str]:
    """The environment with which a process was started (Linux); variables that it has set itself are not in it."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _torchrun_group(env: Mapping[str, str]) -> str:
    shared = ":".join(env.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"))
    single_node = env.get("LOCAL_WORLD_SIZE") == env.get("WORLD_SIZE")
    # torchrun's id and port are often its defaults: on one node the launching process distinguishes two launches.
    return f"{shared}:{_process(os.getppid())}" if single_node else shared


def _process(pid: int) -> str:
    return f"process:{socket.gethostname()}:{_boot()}:{pid}:{process_start(pid)}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def in_worker_process() -> bool:
    """Whether multiprocessing started this process (a DataLoader worker, for example)."""
    # While a spawned child imports the program's main module again it does not know its parent yet, only this.
    inheriting = getattr(multiprocessing.current_process(), "_inheriting", False)
    return bool(inheriting) or multiprocessing.parent_process() is not None


def launched_index() -> int | None:
    """The number that `torch.multiprocessing.spawn` gave this process; None if it did not start it."""
    process = multiprocessing.current_process()
    target: object = getattr(process, "_target", None)
    arguments: tuple[object, ...] = getattr(process, "_args", ())
    if getattr(target, "__module__", "") != "torch.multiprocessing.spawn" or len(arguments) < 2:
        return None
    index = arguments[1]
    return index if isinstance(index, int) else None


def is_daemon() -> bool:
    """Whether multiprocessing started this process as a daemon, which must not outlive its parent: never a rank."""
    return bool(multiprocessing.current_process().daemon)
