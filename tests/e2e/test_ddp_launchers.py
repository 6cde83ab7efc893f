"""One run for all ranks, however they start. With Lightning, torchrun and SLURM: `test_ddp_exact.py`."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tracelet
from tracelet.store.run import Run

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SETTINGS = {
    "TRACELET_QUIET": "1", "TRACELET_DELIVERY": "off", "TRACELET_TRACK_SYSTEM": "0", "TRACELET_TRACK_GIT": "0",
    "TRACELET_TRACK_ENV": "0",
}  # fmt: skip
Place = tuple[int, int, int, int]


def run_to_end(*command: str, **environment: str) -> None:
    """Run a command, and show what it printed should it fail."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, **SETTINGS, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def script(code: str) -> str:
    """A script in the working directory."""
    Path("script.py").write_text(textwrap.dedent(code), encoding="utf-8")
    return "script.py"


def only_run() -> Run:
    """The one run there is; it has no problems."""
    (run,) = tracelet.open_store().runs()
    assert run.problems == []
    assert run.info.status == "finished", run.info.reason
    return run


def places(run: Run) -> list[Place]:
    """Rank, local rank, node rank and world size of each process that trained."""
    launched = {view.started.parent for view in run.views if view.started}
    started = [view.started for view in run.views if view.started and view.path.name not in launched]
    return [(one.rank, one.local_rank, one.node_rank, one.world_size) for one in started]


WORK = """
    import os, sys
    import torch.multiprocessing as mp
    from torch import distributed
    import tracelet

    def join(rank, again=0):
        place = "file://" + os.path.abspath(f"meeting{again}")
        distributed.init_process_group("gloo", rank=rank, world_size=2, init_method=place)

    def leave():
        distributed.barrier()
        distributed.destroy_process_group()
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_ranks_of_torch_multiprocessing_join_the_run_of_their_launcher(method: str) -> None:
    """Functions that never heard of tracelet record as ranks, launch after launch, whichever start method."""
    code = (
        WORK
        + f"""
    def work(rank, again):
        join(rank, again)
        for step in range(3):
            tracelet.log({{"m": float(10 * again + rank)}}, step=step)
        leave()

    if __name__ == "__main__":
        with tracelet.start_logging("parent") as run:
            run.log_metric("before", 1.0)
            for again in range(2):
                mp.start_processes(work, args=(again,), nprocs=2, start_method="{method}")
            run.log_metric("after", 1.0)
    """
    )
    run_to_end(sys.executable, script(code))
    run = only_run()
    assert places(run) == [(0, 0, 0, 2), (0, 0, 0, 2), (1, 1, 0, 2), (1, 1, 0, 2)]
    assert run.series("m", rank=1).values.tolist() == [1.0] * 3 + [11.0] * 3
    assert len(run.series("before")) == len(run.series("after")) == 1


def test_ranks_that_start_the_recording_themselves_are_one_run_each_time() -> None:
    """A function that calls start_logging() in each launched process: one run a launch; the launcher has none."""
    code = (
        WORK
        + """
    def work(rank, again):
        join(rank, again)
        run = tracelet.start_logging(f"launch {again}")
        run.log_metric("m", float(10 * again + rank))
        leave()

    if __name__ == "__main__":
        for again in range(2):
            mp.spawn(work, args=(again,), nprocs=2)
    """
    )
    run_to_end(sys.executable, script(code))
    store = tracelet.open_store()
    assert {run.info.name for run in store.runs()} == {"launch 0", "launch 1"}
    for again in range(2):
        run = store.run(f"launch {again}")
        assert places(run) == [(0, 0, 0, 2), (1, 1, 0, 2)]
        assert run.series("m", rank=1).values.tolist() == [10.0 * again + 1]
        assert {view.status.status for view in run.views if view.status} == {"finished"}


def test_forked_children_record_from_the_moment_they_join_a_process_group() -> None:
    """A child of plain multiprocessing is a helper until it has a rank; then its points are that rank's."""
    code = (
        WORK
        + """
    def work(rank):
        tracelet.log({"helper": 1.0})
        join(rank)
        tracelet.log({"m": float(rank)})
        leave()

    if __name__ == "__main__":
        with tracelet.start_logging("parent"):
            children = [mp.get_context("fork").Process(target=work, args=(rank,)) for rank in range(2)]
            for child in children: child.start()
            for child in children: child.join()
            assert [child.exitcode for child in children] == [0, 0]
    """
    )
    run_to_end(sys.executable, script(code))
    run = only_run()
    assert run.metrics() == ["m"]
    assert places(run) == [(0, 0, 0, 2), (1, 1, 0, 2)]


LAUNCHER = """
    import os, subprocess, sys

    kind, launch, *command = sys.argv[1:]
    rank, local, shared = {
        "srun": ("SLURM_PROCID", "SLURM_LOCALID", {
            "SLURM_NTASKS": "2", "SLURM_NODEID": "0", "SLURM_NNODES": "1", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": launch,
        }),
        "openmpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", {
            "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": f"prterun-{launch}@1",
        }),
        "mpich": ("PMI_RANK", "MPI_LOCALRANKID", {"PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"}),
    }[kind]
    wrapped = ["sh", "-c", '"$@"; exit $?', "sh", *command]
    ranks = [subprocess.Popen(wrapped, env={**os.environ, **shared, rank: str(n), local: str(n)}) for n in range(2)]
    sys.exit(max(process.wait() for process in ranks))
"""
"""Starts ranks as these launchers do, each in a script that wraps it."""


def test_two_scripts_of_one_job_are_two_runs() -> None:
    """In a job with eight tasks, run without `srun` or one after the other in one step: nothing of one is the other's.

    Without `srun` there is no second rank, whatever the job has asked for.
    """
    code = """
    import tracelet
    run = tracelet.start_logging("one of two")
    run.log_metric("m", 1.0)
    tracelet.stop_logging()
    """
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    path = script(code)
    for step in ({}, {}, {"SLURM_STEP_ID": "1"}, {"SLURM_STEP_ID": "1"}):
        run_to_end(sys.executable, path, **job, **step)
    runs = sorted(tracelet.open_store().runs(), key=lambda run: run.info.started)
    assert [run.info.world_size for run in runs] == [1, 1, 8, 8]
    assert [len(run.views) for run in runs] == [1, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["srun", "openmpi", "mpich"])
def test_ranks_of_srun_and_mpi_are_one_run_each_launch(kind: str) -> None:
    """Known by their variables alone: one run a launch, and in it the mean over its ranks."""
    Path("launcher.py").write_text(textwrap.dedent(LAUNCHER), encoding="utf-8")
    code = """
    import os, sys
    from torch import distributed
    import tracelet

    RANKS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
    launch = int(sys.argv[1])
    run = tracelet.start_logging(f"launch {launch}")
    rank = next(int(os.environ[name]) for name in RANKS if name in os.environ)
    distributed.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{os.getcwd()}/meet{launch}")
    for step in range(3):
        run.log_metric("m", float(10 * launch + rank), step)
    distributed.barrier()
    distributed.destroy_process_group()
    tracelet.stop_logging()
    """
    for number in ("0", "1"):
        run_to_end(sys.executable, "launcher.py", kind, number, sys.executable, script(code), number)
    store = tracelet.open_store()
    assert {run.info.name for run in store.runs()} == {"launch 0", "launch 1"}
    for launch in range(2):
        run = store.run(f"launch {launch}")
        assert (run.info.status, run.problems) == ("finished", [])
        assert places(run) == [(0, 0, 0, 2), (1, 1, 0, 2)]
        assert run.series("m").values.tolist() == [10.0 * launch + 0.5] * 3


def test_a_launched_rank_that_fails_says_why() -> None:
    """The exception of a launched function is the reason of its rank, and of no other."""
    code = (
        WORK
        + """
    def work(rank):
        if rank == 1:
            raise ValueError("no luck")

    if __name__ == "__main__":
        with tracelet.start_logging("parent"):
            try: mp.spawn(work, nprocs=2)
            except mp.ProcessRaisedException: pass
    """
    )
    run_to_end(sys.executable, script(code))
    (run,) = tracelet.open_store().runs()
    told = {view.path.name: view.status for view in run.views}
    failed = told["rank-1.0.tlj"]
    assert failed is not None
    assert (failed.status, failed.reason) == ("failed", "ValueError: no luck")


@pytest.mark.slow
def test_an_elastic_restart_goes_on_with_the_run() -> None:
    """When torchrun starts its workers again they are the next branch of the same run, on every rank."""
    code = """
    import os, sys, time
    import tracelet
    run = tracelet.start_logging("elastic")
    again = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    for step in range(3 - again, 6):
        run.log_metric("m", 10.0 * again, step)
    tracelet.stop_logging()
    open(f"{again}-{os.environ['RANK']}", "w").close()
    while not all(os.path.exists(f"{again}-{rank}") for rank in range(2)):
        time.sleep(0.05)  # torchrun ends the other one as soon as one has failed
    sys.exit(0 if again else 3)
    """
    run_to_end(*TORCHRUN, "--max-restarts", "1", script(code))
    run = only_run()
    assert [(view.started.rank, view.started.branch) for view in run.views if view.started] == [
        (0, 0), (0, 1), (1, 0), (1, 1),
    ]  # fmt: skip
    assert run.series("m").steps.tolist() == [2, 3, 4, 5]
    assert run.series("m").values.tolist() == [10.0] * 4


def test_the_launchers_are_as_they_were_after_the_run() -> None:
    """stop_logging() gives torch its functions back, and launched processes record no more."""
    from torch import distributed, multiprocessing

    before = vars(multiprocessing)["start_processes"], distributed.init_process_group
    tracelet.start_logging("x")
    assert vars(multiprocessing)["start_processes"] is not before[0]
    tracelet.stop_logging()
    assert (vars(multiprocessing)["start_processes"], distributed.init_process_group) == before
