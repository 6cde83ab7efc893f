"""Children of a recorded process: forked, spawned, DataLoader workers. They are inert and leave their parent alone."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tracelet
from tracelet.store.run import Run

SETTINGS = {
    "TRACELET_QUIET": "1", "TRACELET_DELIVERY": "off", "TRACELET_TRACK_SYSTEM": "0", "TRACELET_TRACK_GIT": "0",
    "TRACELET_TRACK_ENV": "0", "TRACELET_TRACK_LIGHTNING": "0", "TRACELET_TRACK_TENSORBOARD": "0",
    "TRACELET_TRACK_SPANS": "0",
}  # fmt: skip


def execute(code: str, **environment: str) -> tuple[int, str, str]:
    """Run a script to its end: exit code, stdout, stderr."""
    script = Path("script.py")
    script.write_text(textwrap.dedent(code), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(script)], capture_output=True, text=True, timeout=120,
        env={**os.environ, **SETTINGS, **environment}, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def only_run() -> Run:
    """The one run there is."""
    (run,) = tracelet.open_store().runs()
    return run


def test_a_forked_child_is_inert() -> None:
    """A child may call everything and end by itself: nothing is written, doubled or sealed, and the parent goes on."""
    code = """
    import os, sys
    import tracelet
    run = tracelet.start_logging("parent")
    run.log_metric("m", 0.0)
    child = os.fork()
    if child == 0:
        assert tracelet.get_active_experiment() is run
        run.log_metric("child", 1.0)
        tracelet.log({"child": 2.0})
        run.log_params({"child": True})
        run.flush()
        assert tracelet.start_logging("another") is run
        with run:
            run.log_metric("child", 3.0)
        run.stop()
        tracelet.stop_logging()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    run.log_metric("m", 1.0)
    """
    assert execute(code) == (0, "", "")
    run = only_run()
    assert (run.info.status, run.metrics(), run.params) == ("finished", ["m"], {})
    assert run.series("m").values.tolist() == [0.0, 1.0]
    assert run.problems == []


def test_forking_in_the_middle_of_busy_threads_never_hangs() -> None:
    """Forked again and again while threads log, every child ends and no point is lost or doubled."""
    code = """
    import os, threading
    import tracelet
    run = tracelet.start_logging("parent", config={"flush_interval": 0.01})
    stop = threading.Event()
    counts = {}
    def work(name):
        step = 0
        while not stop.is_set():
            run.log_metric(name, float(step), step)
            step += 1
        counts[name] = step
    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(3)]
    for thread in threads: thread.start()
    for _ in range(40):
        child = os.fork()
        if child == 0:
            for _ in range(100): run.log_metric("child", 1.0)
            run.flush()
            tracelet.stop_logging()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    stop.set()
    for thread in threads: thread.join()
    tracelet.stop_logging()
    print(counts)
    """
    status, output, errors = execute(code)
    assert (status, errors) == (0, "")
    run = only_run()
    counts = eval(output)
    assert run.metrics() == ["t0", "t1", "t2"]
    for name, count in counts.items():
        assert run.series(name).steps.tolist() == list(range(count))
    assert run.problems == []


def test_a_child_forked_before_the_start_may_have_a_run_of_its_own() -> None:
    """What was forked before any run is a process like another: its run is its own."""
    code = """
    import os
    import tracelet
    child = os.fork()
    with tracelet.start_logging("child" if child == 0 else "parent") as run:
        run.log_metric("m", float(child == 0))
    if child:
        assert os.waitpid(child, 0)[1] == 0
    """
    assert execute(code) == (0, "", "")
    store = tracelet.open_store()
    assert len(store.runs()) == 2
    assert store.run("child").series("m").values.tolist() == [1.0]
    assert store.run("parent").series("m").values.tolist() == [0.0]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_children_record_nothing(method: str) -> None:
    """A child of multiprocessing that calls start_logging() gets a handle that does nothing, whichever start method."""
    code = f"""
    import multiprocessing
    import tracelet

    def work(number):
        run = tracelet.start_logging("child")
        run.log_metric("child", float(number))
        tracelet.log({{"child": 1.0}})
        tracelet.stop_logging()
        return number

    if __name__ == "__main__":
        run = tracelet.start_logging("parent")
        with multiprocessing.get_context("{method}").Pool(2) as pool:
            assert pool.map(work, range(6)) == list(range(6))
        run.log_metric("m", 1.0)
    """
    assert execute(code) == (0, "", "")
    run = only_run()
    assert (run.info.name, run.metrics(), run.info.status) == ("parent", ["m"], "finished")
    assert [path.name for path in run.path.glob("*.tlj")] == ["rank-0.0.tlj"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_children_that_execute_the_script_again_record_nothing(method: str) -> None:
    """start_logging() at the script's top level is inert in a child that imports the script, as spawned ones do."""
    code = f"""
    import multiprocessing
    import tracelet
    run = tracelet.start_logging("parent")

    def work(number):
        run.log_metric("child", float(number))
        tracelet.log({{"child": 1.0}})
        return number

    if __name__ == "__main__":
        with multiprocessing.get_context("{method}").Pool(2) as pool:
            assert pool.map(work, range(6)) == list(range(6))
        run.log_metric("m", 1.0)
    """
    assert execute(code) == (0, "", "")
    found = only_run()
    assert (found.info.name, found.metrics(), found.info.status) == ("parent", ["m"], "finished")
    assert [path.name for path in found.path.glob("*.tlj")] == ["rank-0.0.tlj"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_dataloader_workers_neither_write_nor_hang_nor_double(method: str) -> None:
    """A dataset that logs in __getitem__ costs nothing: its workers are inert, the training's points are all there."""
    code = f"""
    import torch
    import tracelet
    from torch.utils.data import DataLoader, Dataset

    class Data(Dataset):
        def __len__(self):
            return 64
        def __getitem__(self, index):
            run = tracelet.get_active_experiment()
            if run is not None:
                run.log_metric("worker", float(index))
                run.flush()
            tracelet.log({{"worker": 1.0}})
            return torch.tensor(float(index))

    if __name__ == "__main__":
        run = tracelet.start_logging("parent")
        step = 0
        for epoch in range(2):
            for batch in DataLoader(Data(), batch_size=8, num_workers=2, multiprocessing_context="{method}"):
                run.log_metric("loss", batch.mean(), step)
                step += 1
    """
    status, _, errors = execute(code)
    assert status == 0, errors
    assert "Traceback" not in errors
    run = only_run()
    assert run.metrics() == ["loss"]
    assert run.series("loss").steps.tolist() == list(range(16))
    assert (run.info.status, run.problems) == ("finished", [])


def test_a_subprocess_is_a_run_of_its_own() -> None:
    """A script that a recorded program starts with subprocess has its own run, and both are whole."""
    code = """
    import subprocess, sys
    import tracelet
    inner = "import tracelet\\nwith tracelet.start_logging('inner') as run: run.log_metric('m', 2.0)"
    with tracelet.start_logging("outer") as run:
        subprocess.run([sys.executable, "-c", inner], check=True)
        run.log_metric("m", 1.0)
    """
    assert execute(code) == (0, "", "")
    store = tracelet.open_store()
    assert store.run("inner").series("m").values.tolist() == [2.0]
    assert store.run("outer").series("m").values.tolist() == [1.0]


LAUNCH = {
    "TORCHELASTIC_RUN_ID": "job", "MASTER_ADDR": "localhost", "MASTER_PORT": "1", "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
}  # fmt: skip


def test_processes_of_one_launch_share_a_run() -> None:
    """Two ranks of one launch write two journals of one run, and a restarted rank the next attempt of its own."""
    code = """
    import os, tracelet
    with tracelet.start_logging('x') as run: run.log_metric('m', float(os.environ['VALUE']))
    """
    for value, rank in enumerate(("0", "1", "0")):
        assert execute(code, **LAUNCH, RANK=rank, LOCAL_RANK=rank, VALUE=str(value)) == (0, "", "")
    run = only_run()
    assert sorted(path.name for path in run.path.glob("*.tlj")) == ["rank-0.0.tlj", "rank-0.1.tlj", "rank-1.0.tlj"]
    assert run.series("m", rank=0).values.tolist() == [0.0, 2.0]
    assert run.series("m", rank=1).values.tolist() == [1.0]
    assert run.info.world_size == 2


def test_two_processes_of_one_rank_at_once_never_share_a_file() -> None:
    """Started at the same moment under the same rank, each process has a journal of its own and both are whole."""
    code = """
    import os, subprocess, sys
    inner = '''
    import tracelet, os
    with tracelet.start_logging("x") as run:
        for step in range(500): run.log_metric("m" + os.environ["WHO"], float(step), step)
    '''
    import textwrap
    children = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(inner)], env={**os.environ, "WHO": str(n)})
        for n in range(4)
    ]
    assert [child.wait() for child in children] == [0] * 4
    """
    assert execute(code, **LAUNCH, RANK="0", LOCAL_RANK="0") == (0, "", "")
    run = only_run()
    assert len(list(run.path.glob("rank-0.*.tlj"))) == 4
    for number in range(4):
        assert run.series(f"m{number}").steps.tolist() == list(range(500))
    assert run.problems == []
