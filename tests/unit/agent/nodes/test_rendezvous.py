"""Whether nodes meet at all, and what they leave for one another in the training's own store."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tracelet import settings
from tracelet.agent.nodes.rendezvous import Rendezvous, listen_address, store_address
from tracelet.agent.process.configuration import AgentConfig
from tracelet.agent.process.supervisor import AgentSupervisor
from tracelet.agent.session_delivery import SessionDelivery
from tracelet.journal.records import Started
from tracelet.session.rank_environment import several_nodes

TORCHRUN = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
SLURM = {"SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_NNODES": "2"}
MPI = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
LAUNCHES = [
    ({}, False), (TORCHRUN, True), ({**TORCHRUN, "LOCAL_WORLD_SIZE": "4"}, False), (SLURM, True),
    ({**SLURM, "SLURM_NNODES": "1"}, False), ({**SLURM, "SLURM_STEP_NUM_NODES": "1"}, False), (MPI, True),
    ({**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, False), ({"PMI_RANK": "0", "PMI_SIZE": "4"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("environment", "several"), LAUNCHES)
def test_launchers_tell_whether_there_are_several_nodes(
    environment: dict[str, str], several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one node nobody meets anybody, and no port is opened."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert several_nodes() is several


def test_lightning_is_started_on_several_nodes_by_hand(tmp_path: Path) -> None:
    """What was set before the process began counts; what Lightning sets itself does not."""
    code = "import os; os.environ.update(NODE_RANK='0', MASTER_ADDR='h'); "
    code += "import tracelet.session.rank_environment as i; print(i.several_nodes())"
    for given, said in (({}, "False"), ({"NODE_RANK": "0", "MASTER_ADDR": "h"}, "True")):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=given)
        assert done.stdout.strip() == said


def test_nobody_meets_who_does_not_want_to_or_has_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched off, without an agent, or as another rank of a node, there is no meeting."""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)

    def meeting(local_rank: int = 0, **config: object) -> Rendezvous | None:
        started = Started(run="r", name="n", project="p", time=1, host="h", pid=1, local_rank=local_rank)
        dispatch = SessionDelivery(
            settings.load(config=config), started, tmp_path / "rank-0.0.tlj", [], [], several_nodes
        )
        dispatch._runner = AgentSupervisor(tmp_path, AgentConfig()) if config.get("delivery") == "agent" else None
        return dispatch.rendezvous(0)

    assert meeting(delivery="agent") is not None
    assert meeting(delivery="agent", gather_nodes=False) is None
    assert meeting(delivery="agent", local_rank=1) is None
    assert meeting(delivery="off") is None


def test_without_a_store_there_is_no_place_to_meet(tmp_path: Path) -> None:
    """A process without a process group has nothing to do: no thread, no order."""
    configs: list[AgentConfig] = []
    meeting = Rendezvous(tmp_path, True, configs.append)
    meeting.start()
    meeting.stop()
    assert store_address() is None
    assert configs == []


RENDEZVOUS = """
    import sys
    from pathlib import Path
    from torch import distributed
    from tracelet.agent.nodes import rendezvous
    from tracelet.agent.nodes.journal_receiver import JournalReceiver

    here, there = Path("here"), Path("there")
    here.mkdir()
    there.mkdir()
    distributed.init_process_group("gloo", init_method="tcp://localhost:{port}", rank=0, world_size=1)
    configs, receivers = [], []

    def listen(config):
        assert config.receive
        receivers.append(JournalReceiver(here, lambda line: None))
        receivers[0].start()

    follower = rendezvous.Rendezvous(there, False, configs.append)
    follower.start()
    follower._thread.join(1)
    print("early", configs)
    rendezvous._run_numbers = iter(range(5))
    leader = rendezvous.Rendezvous(here, True, listen)
    leader.start()
    leader.stop()
    follower._thread.join(20)
    found = configs[0].leader
    print("same", found.secret == receivers[0]._endpoint.secret, found.addresses[0][1] == receivers[0]._endpoint.port)

    rendezvous._run_numbers = iter([7, 7, 8])
    rendezvous.FIRST_POLL = 600.0
    short = rendezvous.Rendezvous(there, False, configs.append)
    short.start()
    short._thread.join(1)
    late = rendezvous.Rendezvous(here, True, lambda config: None)
    late.start()
    late.stop()
    short.stop()
    print("short", len(configs))

    distributed.destroy_process_group()
    lost = rendezvous.Rendezvous(there, False, configs.append)
    lost._store_address = ("localhost", {port})
    lost.start()
    lost._thread.join(20)
    print("gone", len(configs), lost._thread.is_alive())
    receivers[0].stop()
"""


@pytest.mark.slow
def test_word_is_left_in_the_store_and_fetched(tmp_path: Path) -> None:
    """A node that asks early asks again, and once more at the end of a run that is over before the next time.

    A store that is gone ends the asking, and torch has nothing to say of it.
    """
    with socket.create_server(("localhost", 0)) as free:
        port = int(free.getsockname()[1])
    code = textwrap.dedent(RENDEZVOUS).replace("{port}", str(port))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["early []", "same True True", "short 2", "gone 2 False"]
    assert "TCPStore" not in done.stderr


@pytest.mark.parametrize(
    ("host", "own", "address"),
    [
        ("node-0", "10.1.2.3", "10.1.2.3"), ("10.1.2.3", "10.1.2.3", "10.1.2.3"), ("node-0", "127.0.1.1", ""),
        ("localhost", "127.0.0.1", "127.0.0.1"), ("::1", "::1", "::1"), ("node-0", "", ""), ("node-0", "?", ""),
    ],
)  # fmt: skip
def test_the_agent_listens_where_the_store_is_reached(host: str, own: str, address: str) -> None:
    """At the address that leads to torch's store; everywhere if a loopback address hides which one that is."""
    assert listen_address(host, own) == address
