"""Which process this is, and the run id on which the processes of a launch agree."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tracelet.session.rank_environment import identify
from tracelet.store.pids import is_alive, process_start
from tracelet.store.run_ids import ALPHABET, ID_LENGTH

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "h", "MASTER_PORT": "29500", "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
}  # fmt: skip
SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4"}
PLACES = [
    ({}, (0, 0, 0, 1)),
    ({**TORCHRUN, "RANK": "3", "LOCAL_RANK": "1", "GROUP_RANK": "1"}, (3, 1, 1, 4)),
    ({**SLURM, "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "1"}, (2, 0, 1, 4)),
    ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, (0, 0, 0, 1)),
    # The script of a job with eight tasks, which runs a program without `srun`; a shell in such a job.
    ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, (0, 0, 0, 1)),
    ({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": str(0xFFFFFFFA), "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, (0, 0, 0, 1)),
    (
        {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_NODE_RANK": "1",
         "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_SIZE": "6"},
        (5, 1, 2, 6),
    ),
    ({"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}, (1, 1, 0, 2)),
    ({"PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 0, 0, 2)),
    ({"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_LOCAL_RANK": "1", "PALS_NODEID": "1"}, (3, 1, 1, 4)),
    # `mpirun` in the script of a SLURM job, whose variables are those of rank 0; `srun --mpi=pmi2`.
    (
        {**SLURM, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4",
         "OMPI_COMM_WORLD_LOCAL_RANK": "3", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"},
        (3, 3, 0, 4),
    ),
    (
        {**SLURM, "SLURM_PROCID": "0", "PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1",
         "MPI_LOCALNRANKS": "4"},
        (1, 1, 0, 4),
    ),
    (
        {**SLURM, "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "PMI_RANK": "3", "PMI_SIZE": "4"},
        (3, 1, 1, 4),
    ),
    ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, (1, 1, 0, 2)),
    ({"RANK": "x", "WORLD_SIZE": "2"}, (0, 0, 0, 2)),
    ({"RANK": "0", "WORLD_SIZE": "nonsense"}, (0, 0, 0, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("environment", "place"), PLACES)
def test_the_place_in_a_launch(environment: dict[str, str], place: tuple[int, int, int, int]) -> None:
    """Rank, local rank, node and world size are read from torchrun, SLURM, MPI, Lightning; nonsense counts as none."""
    me = identify(environment)
    assert (me.rank, me.local_rank, me.node_rank, me.world_size) == place
    assert (me.pid, me.process_started) == (os.getpid(), process_start(os.getpid()))


def test_ranks_of_one_launch_agree_on_the_id() -> None:
    """The run's id depends on the launch and on nothing that differs between its ranks."""
    for launch, names in ((TORCHRUN, ("RANK", "LOCAL_RANK")), (SLURM, ("SLURM_PROCID", "SLURM_LOCALID"))):
        ids = {identify({**launch, **dict.fromkeys(names, str(rank))}).run_id(0) for rank in range(4)}
        assert len(ids) == 1


OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": "prterun-h-7@1"}
MPICH = {"PMI_SIZE": "4", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2", "MASTER_ADDR": "h", "MASTER_PORT": "29500"}


def test_ranks_of_mpi_on_several_nodes_agree_on_the_id() -> None:
    """By the name of the launch, or where they meet; another launch may come again with the same."""
    launches = [
        [identify({**OPEN_MPI, "OMPI_COMM_WORLD_RANK": str(rank)}) for rank in range(4)],
        [identify({**OPEN_MPI, "PMIX_NAMESPACE": "8", "OMPI_COMM_WORLD_RANK": str(rank)}) for rank in range(4)],
        [identify({**MPICH, "PMI_RANK": str(rank)}) for rank in range(4)],
        [identify({"PMI_RANK": str(rank), "PMI_SIZE": "4", "PALS_APID": "a"}) for rank in range(4)],
    ]
    ids = [{me.run_id(0) for me in launch} for launch in launches]
    assert [len(found) for found in ids] == [1, 1, 1, 1]
    assert len(set.union(*ids)) == 4
    assert all(me.recurring for launch in launches for me in launch)


def test_a_restart_by_torchrun_is_no_other_launch() -> None:
    """Several nodes' default names may come again with another launch, but not with a restart of the same one."""
    assert identify({**TORCHRUN, "RANK": "0"}).recurring
    assert not identify({**TORCHRUN, "RANK": "0", "TORCHELASTIC_RESTART_COUNT": "1"}).recurring
    assert not identify({**TORCHRUN, "RANK": "0", "LOCAL_WORLD_SIZE": "4"}).recurring


def test_torchrun_in_the_script_of_a_slurm_job_is_a_launch_of_its_own() -> None:
    """A job may run torchrun again and again: what tells its launches apart is torchrun, not the job."""
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}
    for one in (job, {**job, "SLURM_STEP_ID": "0"}):
        known = {identify({**one, **TORCHRUN, "LOCAL_WORLD_SIZE": "4", "RANK": str(rank)}).group for rank in range(4)}
        (group,) = known
        assert group.startswith("torchrun:")
        assert group.endswith(f":{os.getppid()}:{process_start(os.getppid())}")


def test_runs_and_launches_differ() -> None:
    """A second run of the process, another job, step, restart or process has another id of ten plain characters."""
    environments = [
        {}, SLURM | {"SLURM_PROCID": "0"}, SLURM | {"SLURM_PROCID": "0", "SLURM_JOB_ID": "8"},
        SLURM | {"SLURM_PROCID": "0", "SLURM_RESTART_COUNT": "1"}, TORCHRUN | {"RANK": "0"},
        TORCHRUN | {"RANK": "0", "MASTER_PORT": "1"},
    ]  # fmt: skip
    ids = [identify(environment).run_id(nth) for environment in environments for nth in range(3)]
    code = "from tracelet.session.rank_environment import identify; print(identify({}).run_id(0))"
    ids += [subprocess.check_output([sys.executable, "-c", code], text=True).strip() for _ in range(2)]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == ID_LENGTH and set(one) <= set(ALPHABET) for one in ids)


def test_whether_a_process_lives() -> None:
    """A process is alive with its own start only; ended ones, zombies and ids that never were are not."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process_start(child.pid)
    assert started > 0
    assert is_alive(child.pid, started)
    assert not is_alive(child.pid, started + 1)
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid, started)  # a zombie
    child.wait()
    assert not is_alive(child.pid, started)
    assert process_start(2**22 + 5) == 0.0
    assert not is_alive(2**22 + 5, 0.0)
