"""Delivery by the agent: a real training, a real agent, a backend that does as it is told."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.probes.agents import (
    LONG,
    ROOT,
    SCRIPT,
    agents,
    control,
    ended_agents,
    environment,
    logged,
    printed,
    run_folder,
    train,
    until,
)  # fmt: skip
from tests.probes.probe_backend import lines, outcomes, points
from tracelet.agent.process.locks import holder, lock_path
from tracelet.journal.journal_reader import JournalReader
from tracelet.store import delivery_state


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def test_everything_arrives_once_and_in_order(tmp_path: Path) -> None:
    """Points, their order, the end of the run and the machine's figures arrive; no SDK is loaded in the training."""
    said = printed(train(tmp_path, count=300, pause=0.005, config={"metrics_interval": 0.5}))
    assert points(tmp_path) == logged(300)
    assert outcomes(tmp_path) == ["finished"]
    assert any("system/memory_percent" in line.get("system", ()) for line in lines(tmp_path))
    loaded = set(json.loads(said["modules"]))
    assert not loaded & {
        "numpy",
        "tenacity",
        "rich",
        "torch",
        "tests.probes.probe_backend",
        "tracelet.agent.delivery.courier",
    }
    assert "delivered to probe (http://probe/" in said["stderr"]
    (delivery,) = tracelet.open_store(tmp_path / ".tracelet").run("latest").deliveries.values()
    assert (delivery.state, delivery.pending, delivery.error) == ("done", None, "")


@pytest.mark.parametrize(
    ("end", "status"), [("stop", "finished"), ("exit", "finished"), ("os_exit", "killed"), ("raise", "failed")]
)
def test_the_backend_learns_how_the_run_ended(tmp_path: Path, end: str, status: str) -> None:
    """However the training ends, the agent delivers what was logged and closes the run with the right status."""
    printed(train(tmp_path, count=50, end=end))
    until(lambda: outcomes(tmp_path))
    told = tracelet.open_store(tmp_path / ".tracelet").run("latest").info.status
    assert outcomes(tmp_path) == [told]
    assert points(tmp_path) == logged(50)
    assert told == status or (end == "os_exit" and told == "finished")  # newer kernels tell the exit code


def test_slow_hanging_and_failing_backends_delay_nobody(tmp_path: Path) -> None:
    """Beside three bad backends the good one has everything; the training's exit keeps to its timeout."""
    for name, word in (("slow", "slow"), ("hanging", "hang"), ("failing", "fail")):
        control(tmp_path, word, name)
    names = ["slow", "hanging", "failing", "good"]
    said = printed(train(tmp_path, count=100, names=names, timeout=4.0, config={"agent_linger": 3}))
    assert points(tmp_path, "good") == logged(100)
    assert outcomes(tmp_path, "good") == ["finished"]
    assert float(said["stop"]) < 4.0 + 3.0
    folder = run_folder(tmp_path)
    until(lambda: points(tmp_path, "slow") == logged(100))
    failing = delivery_state.read(folder, "failing")
    assert failing is not None
    assert (failing.state, failing.error) == ("offline", "the probe is told to fail")
    assert "points are not delivered yet to failing (offline: the probe is told to fail)" in said["stderr"]
    assert f"tracelet sync {folder.name}" in said["stderr"]


def test_an_outage_is_said_once_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    """The backend goes away in the middle, outlasts the training, and gets the rest from the lingering agent."""
    process = train(tmp_path, wait=False, count=150, pause=0.02, timeout=0.5)
    until(lambda: points(tmp_path))
    control(tmp_path, "fail")
    printed(process)
    assert agents(tmp_path), "the agent goes on without the training"
    control(tmp_path, "")
    until(lambda: outcomes(tmp_path), 60)
    assert points(tmp_path) == logged(150)
    log = (run_folder(tmp_path) / "agent.log").read_text()
    assert log.count("offline, will retry") == 1


def test_an_unexplained_failure_counts_as_an_outage_for_a_while(tmp_path: Path) -> None:
    """A backend that raises something of its own is tried again."""
    control(tmp_path, "crash")
    process = train(tmp_path, wait=False, count=50, end="stop")
    until(lambda: any(d.state == "offline" for d in delivery_state.read_all(run_folder(tmp_path))))
    control(tmp_path, "")
    printed(process)
    assert points(tmp_path) == logged(50)


def test_refused_records_become_dead_letters(tmp_path: Path) -> None:
    """What the backend refuses is set aside with the reason, and the rest arrives."""
    control(tmp_path, "reject")
    script = (
        "import tracelet\n"
        "e = tracelet.start_logging('x', backend={'probe': {'class': 'tests.probes.probe_backend:ProbeBackend', "
        f"'folder': {str(tmp_path)!r}}}}})\n"
        "for n in range(5):\n    e.log_metrics({'good': 1.0, 'bad': 2.0}, step=n)\n"
        "tracelet.stop_logging()\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment(), check=True, timeout=90)
    assert points(tmp_path) == [["good", step, 1.0] for step in range(5)]
    folder = run_folder(tmp_path)
    dead = [json.loads(line) for line in (folder / "delivery" / "probe.dead.jsonl").read_text().splitlines()]
    assert {letter["record"]["name"] for letter in dead} == {"bad"}
    assert {letter["why"] for letter in dead} == {"the probe dislikes points named bad"}
    assert sum(len(letter["record"]["steps"]) for letter in dead) == 5
    delivery = delivery_state.read(folder, "probe")
    assert delivery is not None
    assert (delivery.state, delivery.rejected) == ("done", len(dead))


def test_a_misconfigured_backend_says_what_to_type(tmp_path: Path) -> None:
    """It stops at once, waits for nobody, and the last line of the run tells the fix."""
    control(tmp_path, "refuse")
    said = printed(train(tmp_path, count=10))
    assert "the probe is told to refuse. Empty its control file" in said["stderr"]
    assert float(said["stop"]) < LONG
    assert points(tmp_path) == []


def test_an_unknown_option_is_told(tmp_path: Path) -> None:
    """An option that the backend does not know names the nearest one."""
    said = printed(train(tmp_path, count=10, options={"api_kye": "x"}))
    assert "Did you mean 'api_key'?" in said["stderr"]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems refuse names that are no UTF-8")
def test_a_folder_whose_name_is_no_text_is_delivered_from(tmp_path: Path) -> None:
    """Linux names folders by bytes: a script, a store and a backend's file in such a folder are like others."""
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    script = odd / "train.py"
    script.write_text(
        "import tracelet\nwith tracelet.start_logging('odd', backend='jsonl') as run: run.log_metric('m', 1.0, 0)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=odd, env=environment(), capture_output=True, timeout=LONG, check=True
    )
    assert b"failed" not in done.stderr, done.stderr
    delivery = tracelet.open_store(odd / ".tracelet").run("odd").deliveries["jsonl"]
    assert delivery.state == "done" and delivery.points >= 1
    assert '"m"' in Path(delivery.url).read_text(encoding="utf-8")


def test_another_packages_backend_joins_by_its_entry_point(tmp_path: Path) -> None:
    """A package that is installed beside us brings a backend by name: the agent delivers to it, and so does `sync`."""
    about = tmp_path / "site" / "mine-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[tracelet.backends]\nmine = tests.probes.probe_backend:ProbeBackend\n")
    env = environment(PYTHONPATH=f"{ROOT}:{about.parent}")
    backend = {"mine": {"folder": str(tmp_path)}}
    printed(train(tmp_path, count=30, backend=backend, env=env))
    assert points(tmp_path) == logged(30)
    assert outcomes(tmp_path) == ["finished"]
    (tmp_path / "probe.jsonl").unlink()
    (run_folder(tmp_path) / "delivery" / "mine.json").unlink()
    command = [sys.executable, "-m", "tracelet", "sync", "latest"]
    subprocess.run(command, cwd=tmp_path, env=env, check=True, timeout=90)
    assert points(tmp_path) == logged(30)


def test_a_pipe_is_not_kept_open(tmp_path: Path) -> None:
    """Whoever reads the training's output gets its end when the training ends, not when the agent does."""
    control(tmp_path, "fail")
    began = time.monotonic()
    printed(train(tmp_path, count=5, timeout=0.2, config={"agent_linger": 8}))
    assert time.monotonic() - began < 8
    assert agents(tmp_path)


def test_there_is_one_agent_for_a_run(tmp_path: Path) -> None:
    """A second agent for the same run leaves without doing anything."""
    process = train(tmp_path, wait=False, count=1, end="wait")
    folder = run_folder(tmp_path)
    first = until(lambda: holder(lock_path(folder)))
    main = Path(tracelet.__file__).parent / "agent" / "__main__.py"
    order = b'{"journal": "rank-0.0.tlj"}\n'
    subprocess.run([sys.executable, str(main), str(folder)], input=order, env=environment(), check=True, timeout=60)
    until(lambda: [found.pid for found in agents(tmp_path)] == [first])  # it waits for an agent that is about to leave
    assert holder(lock_path(folder)) == first
    process.kill()
    printed(process)


def test_ctrl_c_ends_the_waiting_and_not_the_delivery(tmp_path: Path) -> None:
    """An interrupt while stop_logging() waits has the program go on, and the agent deliver."""
    control(tmp_path, "fail")
    process = train(tmp_path, wait=False, count=20, timeout=60)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("logged"):
        continue
    time.sleep(3)
    footer = JournalReader(run_folder(tmp_path) / "rank-0.0.tlj").footer()
    assert footer is not None, "the journal is sealed before anybody is waited for"
    assert footer.status.status == "finished"
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    said = printed(process)
    assert time.monotonic() - began < 10
    assert process.returncode == 0, said["stderr"]
    assert "stopped waiting" in said["stderr"]
    control(tmp_path, "")
    until(lambda: outcomes(tmp_path), 60)
    assert points(tmp_path) == logged(20)


def test_inline_delivery_needs_no_process(tmp_path: Path) -> None:
    """With `delivery="inline"` threads of the training deliver the same."""
    process = train(tmp_path, wait=False, count=200, pause=0.005, config={"delivery": "inline"}, end="stop")
    until(lambda: lines(tmp_path))
    assert agents(tmp_path) == []
    printed(process)
    assert points(tmp_path) == logged(200)
    assert outcomes(tmp_path) == ["finished"]
    assert {line["pid"] for line in lines(tmp_path)} == {process.pid}


def test_inline_delivery_ends_with_the_program(tmp_path: Path) -> None:
    """What is left when the waiting is over waits for `tracelet sync`: nobody is said to go on with it."""
    control(tmp_path, "fail")
    said = printed(train(tmp_path, count=20, timeout=1.0, config={"delivery": "inline"}))
    assert "points are not delivered yet to probe (offline: the probe is told to fail)" in said["stderr"]
    assert "continues in the background" not in said["stderr"]
    assert f"tracelet sync {run_folder(tmp_path).name}" in said["stderr"]


def test_inline_delivery_that_begins_when_the_program_has_ended(tmp_path: Path) -> None:
    """Python lets an SDK start nothing then: that is said at once, with what to type, and `sync` delivers all."""
    backend: dict[str, dict[str, str]] = {"tensorboard": {}}
    config = {"delivery": "inline", "stop_timeout": LONG * 2}
    said = printed(train(tmp_path, count=20, end="exit", backend=backend, config=config))
    folder = run_folder(tmp_path)
    delivery = delivery_state.read(folder, "tensorboard")
    assert delivery is not None
    assert (delivery.state, delivery.points) == ("misconfigured", 0)
    assert "Next time, end the program with tracelet.stop_logging()" in said["stderr"]
    assert f"tracelet sync {folder.name}" in said["stderr"]
    subprocess.run(
        [sys.executable, "-m", "tracelet", "sync", folder.name], cwd=tmp_path, env=environment(), check=True, timeout=90
    )
    delivery = delivery_state.read(folder, "tensorboard")
    assert delivery is not None
    assert delivery.state == "done"
    assert delivery.points >= 20


def test_without_backends_the_agent_samples_the_machine(tmp_path: Path) -> None:
    """No backend is named: the agent records the machine and leaves when the training does; nobody waits."""
    said = printed(train(tmp_path, count=50, pause=0.02, names=[], config={"metrics_interval": 0.3}))
    assert float(said["stop"]) < LONG / 2
    until(lambda: not agents(tmp_path))
    run = tracelet.open_store(tmp_path / ".tracelet").run("latest")
    assert len(run.series("system/memory_percent")) > 2
    assert "loss" in run.metrics()


def test_what_the_agent_reads_is_the_trainings_own_share(tmp_path: Path) -> None:
    """Memory and processes are those of the training and its children, to the very end; the agent is none of them."""
    script = (
        "import subprocess, sys, time, tracelet\n"
        "large = b'x' * 400_000_000\n"
        "with subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE):\n"
        "    tracelet.start_logging('x', config={'metrics_interval': 0.3, 'track_git': False})\n"
        "    time.sleep(2.5)\n    del large\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment(), check=True, timeout=90)
    until(lambda: not agents(tmp_path))
    run = tracelet.open_store(tmp_path / ".tracelet").run("latest")
    assert {view.started.role for view in run.views if view.started and view.metrics} == {"node"}
    memory = run.series("system/process_memory_bytes").values.tolist()
    assert max(memory) > 400_000_000
    assert 2.0 in run.series("system/processes").values.tolist()
    assert max(run.series("system/processes").values.tolist()) == 2.0


def test_a_long_journal_is_compacted_by_the_agent(tmp_path: Path) -> None:
    """What the training leaves because it would take too long, the agent does when all is delivered."""
    script = (
        "import tracelet\ne = tracelet.start_logging('x', config={'track_system': False})\n"
        "for n in range(400_000):\n    e.log_metric('a', n * 0.37, step=n)\n"
        "tracelet.stop_logging()\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment(), check=True, timeout=120)
    path = run_folder(tmp_path) / "rank-0.0.tlj"
    until(lambda: (footer := JournalReader(path).footer()) is not None and footer.compacted, 60)
    assert len(tracelet.open_store(tmp_path / ".tracelet").run("latest").series("a")) == 400_000


def test_the_terminals_signals_do_not_reach_the_agent(tmp_path: Path) -> None:
    """Ctrl-C and a hangup of the terminal's group are the training's."""
    process = train(tmp_path, wait=False, count=1, end="wait")
    folder = run_folder(tmp_path)
    pid = until(lambda: holder(lock_path(folder)))
    (agent,) = agents(tmp_path)
    assert agent.pid == pid
    for number in (signal.SIGINT, signal.SIGHUP):
        agent.send_signal(number)
    time.sleep(0.5)
    assert agents(tmp_path) == [agent]
    process.kill()
    printed(process)


def test_a_lingering_agent_takes_care_of_the_attempt_that_follows(tmp_path: Path) -> None:
    """The run goes on in a new process while the first one's agent still tries: it stays, and is the only one."""
    control(tmp_path, "fail")
    same = environment(TRACELET_RUN_ID="resumed")
    printed(train(tmp_path, count=10, timeout=0.2, env=same))
    (first,) = agents(tmp_path)
    second = train(tmp_path, wait=False, count=300, pause=0.02, env=same, config={"metrics_interval": 0.5})
    time.sleep(2)
    control(tmp_path, "")
    printed(second)
    until(lambda: outcomes(tmp_path))
    assert outcomes(tmp_path) == ["finished"]
    assert {line["pid"] for line in lines(tmp_path)} == {first.pid}
    assert points(tmp_path)[-1] == logged(300)[-1]
    journals = {path.name for path in run_folder(tmp_path).glob("*.tlj")}
    assert {"rank-0.0.tlj", "rank-0.1.tlj"} <= journals
    assert any(name.startswith("node-") for name in journals), "the machine was sampled during the second attempt"


def test_a_terminal_shows_how_far_the_delivery_is(tmp_path: Path) -> None:
    """On a terminal a bar is drawn while stop_logging() waits, and is gone afterwards; the last line stays."""
    control(tmp_path, "slow")
    master, slave = pty.openpty()
    order = json.dumps({"folder": str(tmp_path), "count": 6000})
    env = environment(TERM="xterm", COLUMNS="100")
    with subprocess.Popen([sys.executable, str(SCRIPT), order], cwd=tmp_path, env=env, stderr=slave, stdout=slave):
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is closed
            while block := os.read(master, 65536):
                shown += block
    os.close(master)
    text = shown.decode()
    assert "delivering to probe (press Ctrl-C to stop waiting)" in text
    assert "%" in text
    assert "delivered to probe" in text
