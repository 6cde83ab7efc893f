"""A real Jupyter kernel: cells that start a run, are executed again, interrupted, and whose kernel is restarted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

import tracelet
from tests.probes.agents import ROOT, agents, ended_agents, until
from tests.probes.probe_backend import points
from tracelet.store.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # of Jupyter
LONG = 90.0
PLAIN = """
import time, tracelet
run = tracelet.start_logging("cell", config=CONFIG)
for step in range(COUNT):
    tracelet.log({"loss": 1.0 / (step + 1)}, step=step)
    time.sleep(0.1)
"""
FIT = """
import os, sys, warnings
warnings.filterwarnings("ignore")
sys.path.append(os.environ["PROBES"]); sys.argv = ["cell"]
import interrupted
interrupted.main()
"""
CONFIG = {"track_system": False, "track_git": False, "track_env": False}


class Kernel:
    """A kernel and one client of it."""

    def __init__(self) -> None:
        self.manager = KernelManager()
        self.manager.start_kernel(env={
            **os.environ, "PYTHONPATH": str(ROOT), "TRACELET_DELIVERY": "agent", "OMP_NUM_THREADS": "1",
            "PROBES": str(ROOT / "tests" / "probes"),
        })  # fmt: skip
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=LONG)
        (self.process,) = [
            one for one in psutil.Process().children() if "ipykernel_launcher" in " ".join(one.cmdline())
        ]

    def run(self, code: str, cell: str, interrupt: bool = False) -> list[tuple[str, str]]:
        """Execute a cell: (kind, text) of all that it showed. `interrupt`: as soon as its run has points."""
        shown: list[tuple[str, str]] = []
        waiting = ["to interrupt"] * interrupt

        def show(message: dict[str, Any]) -> None:
            content = message["content"]
            told = content.get("data", {}).get("text/plain") or content.get("text") or content.get("ename")
            if told:
                shown.append((message["header"]["msg_type"], str(told)))
            if waiting and "step" in str(told) and message["header"]["msg_type"] == "update_display_data":
                waiting.clear()  # the last text has steps too
                self.manager.interrupt_kernel()

        request = self.client.session.msg(
            "execute_request",
            {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
             "stop_on_error": True},
            metadata={"cellId": cell},
        )  # fmt: skip
        self.client.shell_channel.send(request)
        deadline = time.monotonic() + LONG
        while True:
            message = self.client.get_iopub_msg(timeout=deadline - time.monotonic())
            if message["parent_header"].get("msg_id") != request["header"]["msg_id"]:
                continue
            show(message)
            if message["header"]["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return shown

    def restart(self) -> float:
        """As the button does; how long it took."""
        began = time.monotonic()
        self.manager.restart_kernel()
        took = time.monotonic() - began
        self.client.wait_for_ready(timeout=LONG)
        return took

    def end(self) -> None:
        """Shut it down."""
        self.client.stop_channels()
        self.manager.shutdown_kernel()
        self.manager.cleanup_resources()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """A kernel in the test's folder; gone afterwards, and no agent of its runs is left."""
    with ended_agents(tmp_path):
        started = Kernel()
        yield started
        started.end()


def plain(count: int, **config: object) -> str:
    """A loop that logs."""
    return PLAIN.replace("CONFIG", repr({**CONFIG, **config})).replace("COUNT", str(count))


def runs() -> list[Run]:
    """The runs, the oldest first."""
    return sorted(tracelet.open_store().runs(), key=lambda run: run.info.started)


def test_cells_are_started_executed_again_interrupted_and_their_kernel_restarted(kernel: Kernel) -> None:
    """Each execution of the starting cell is a run; its text follows the training; every run ends as it should."""
    shown = kernel.run(plain(25), "a")
    texts = [text for kind, text in shown if kind == "update_display_data"]
    assert [kind for kind, _ in shown].count("display_data") == 1
    assert "loss" in texts[0]
    assert "running" in texts[0]
    assert not [text for kind, text in shown if kind == "error"]
    assert kernel.run("again = tracelet.start_logging('cell'); assert again is run", "b") == []
    shown = kernel.run(plain(3) + "1/0", "a")
    assert "ended" in next(text for kind, text in shown if kind == "update_display_data")
    assert shown[-1] == ("error", "ZeroDivisionError")
    kernel.run(plain(3), "a")
    kernel.run("tracelet.stop_logging()", "c")
    shown = kernel.run("with tracelet.start_logging('block', config=dict(track_git=False)):\n"
                       " for step in range(10**6): tracelet.log({'loss': 1.0}, step=step); time.sleep(0.05)",
                       "d", interrupt=True)  # fmt: skip
    assert shown[-1] == ("error", "KeyboardInterrupt")
    kernel.run(plain(10**6), "e", interrupt=True)
    assert kernel.restart() < LONG
    kernel.run("import tracelet; assert tracelet.get_active_experiment() is None", "a")
    ends = [(run.info.name, run.info.status, run.info.reason) for run in runs()]
    assert ends == [
        ("cell", "finished", ""), ("cell", "failed", "ZeroDivisionError: division by zero"), ("cell", "finished", ""),
        ("block", "interrupted", "Ctrl-C"), ("cell", "interrupted", "Ctrl-C"),
    ]  # fmt: skip
    assert [len(run.series("loss")) for run in runs()][:3] == [25, 3, 3]
    assert all(run.problems == [] for run in runs())
    until(lambda: not agents(Path.cwd()))


def test_a_fit_is_interrupted_and_a_backend_that_hangs_holds_up_no_restart(kernel: Kernel, tmp_path: Path) -> None:
    """Lightning's own shutdown is an interruption; couriers in the kernel that never return do not keep it."""
    kernel.run(FIT, "a", interrupt=True)
    first = kernel.process
    kernel.restart()
    assert not first.is_running() or first.status() == psutil.STATUS_ZOMBIE
    (run,) = runs()
    assert (run.info.name, run.info.status, run.info.reason) == ("interrupted", "interrupted", "KeyboardInterrupt")
    (tmp_path / "probe.control").write_text("hang", encoding="utf-8")
    backend = {"probe": {"class": "tests.probes.probe_backend:ProbeBackend", "folder": str(tmp_path)}}
    code = plain(5, delivery="inline").replace('("cell",', f'("cell", backend={backend},')
    assert not [text for kind, text in kernel.run(code, "b") if kind == "error"]
    kernel.restart()
    latest = runs()[-1]
    assert (latest.info.name, latest.info.status) == ("cell", "finished")
    assert len(latest.series("loss")) == 5
    assert points(tmp_path) == []


TWO_RANKS = """
import os, sys, warnings
warnings.filterwarnings("ignore")
os.environ["STEPS"] = "60"
sys.path.append(os.environ["PROBES"]); sys.argv = ["cell", "ddp_notebook", "2"]
import interrupted
interrupted.main()
import tracelet
tracelet.stop_logging()
"""


def test_ranks_of_ddp_notebook_are_in_the_text_of_their_cell(kernel: Kernel) -> None:
    """Lightning forks two ranks out of the kernel: one run with both, whose text shows what they log while they do."""
    shown = kernel.run(TWO_RANKS, "a")
    assert not [text for kind, text in shown if kind == "error"]
    texts = [text for kind, text in shown if kind == "update_display_data"]
    assert [text for text in texts if "loss" in text and "running" in text]
    (run,) = runs()
    assert (run.info.status, run.info.world_size, run.problems) == ("finished", 2, [])
    for rank in range(2):
        assert run.series("loss", rank=rank).steps.tolist() == list(range(60))
    assert run.series("loss").complete
    until(lambda: not agents(Path.cwd()))
