"""A run's delivery, seen from the training process: starts the agent or inline couriers, and waits for them at the end.

Called by the session on the user's thread. Imports the couriers only for `delivery="inline"`, and never an SDK.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tracelet import guard
from tracelet.agent.delivery.wait_for_delivery import DeliveryWait
from tracelet.agent.process.configuration import AgentConfig, BackendConfig
from tracelet.agent.process.supervisor import AgentSupervisor
from tracelet.collectors.process_tree import root_pid
from tracelet.errors import install_command
from tracelet.journal.records import Started
from tracelet.settings import Settings

if TYPE_CHECKING:
    from tracelet.agent.nodes.rendezvous import Rendezvous


class DeliveryRunner(Protocol):
    """Runs the couriers: an `AgentSupervisor`, or `InlineDelivery`."""

    def start(self) -> None:
        """Start."""

    def add(self, backend_configs: Sequence[BackendConfig]) -> None:
        """Add backends for the same run."""

    def ensure_running(self) -> bool:
        """Whether a courier runs, after a restart if necessary and possible."""

    def stop(self) -> None:
        """Stop."""


class SessionDelivery:
    """One run's delivery, seen from the training process."""

    def __init__(
        self,
        settings: Settings,
        started: Started,
        journal: Path,
        backend_configs: Sequence[BackendConfig],
        collectors: Sequence[str],
        several_nodes: Callable[[], bool],
    ) -> None:
        self.folder = journal.parent
        self._settings = settings
        # Under Lightning's launcher, the first rank of each node takes itself for rank 0 until the ranks have
        # connected.
        self._is_leader = started.rank == 0 and started.node_rank == 0
        self._is_first_on_host = started.local_rank == 0
        self._journal = journal
        self._several_nodes = several_nodes
        self._backend_configs = list(backend_configs) if self._is_leader else []
        self._collectors = list(collectors)
        self._runner: DeliveryRunner | None = None
        self._pid = os.getpid()
        self._started_at = time.time()
        self.samples_system = False
        """Whether the agent samples the machine."""

    @property
    def backend_configs(self) -> Sequence[BackendConfig]:
        """The run's backends, with their credentials."""
        return tuple(self._backend_configs)

    def start(self) -> None:
        """Start the agent, or the couriers here; without either the journal is just as complete, and `sync`
        delivers.
        """
        with guard.guard("starting the delivery"):
            runner = self._make_runner()
            if runner is not None:
                runner.start()
                self._runner = runner
                self.samples_system = isinstance(runner, AgentSupervisor)

    def _make_runner(self) -> DeliveryRunner | None:
        mode = self._settings.delivery
        if mode == "agent" and self._is_first_on_host and sys.executable and os.name == "posix":
            return AgentSupervisor(self.folder, self._agent_config())
        inline = mode == "inline" or (mode == "agent" and os.name != "posix")
        if inline and self._backend_configs:
            from tracelet.agent.delivery.inline import InlineDelivery

            return InlineDelivery(self.folder, self._backend_configs, self._settings.rank_deadline)
        return None

    def _agent_config(self) -> AgentConfig:
        return AgentConfig(
            journal=self._journal.name, pid=root_pid(), interval=self._settings.metrics_interval,
            collectors=self._collectors, linger=self._settings.agent_linger, rank_deadline=self._settings.rank_deadline,
            backends=list(self._backend_configs),
            alerts=self._alert_addresses(), alert_rules=self._settings.alert_rules,
            path=[os.fsencode(entry) for entry in sys.path if os.path.isabs(entry)],
        )  # fmt: skip

    def _alert_addresses(self) -> list[str]:
        """Where the agent sends alerts; nowhere without apprise, which is said once."""
        addresses = str(self._settings.alerts).split() if self._is_leader else []
        if addresses and importlib.util.find_spec("apprise") is None:
            guard.say(f"alerts need apprise; none are sent. Type: {install_command('alerts')}", once="alerts")
            return []
        return addresses

    def add(self, backend_configs: Sequence[BackendConfig]) -> None:
        """Add backends for a running run."""
        known = {config.name for config in self._backend_configs}
        new = [config for config in backend_configs if config.name not in known] if self._is_leader else []
        self._backend_configs += new
        if self._runner is not None and new:
            with guard.guard("adding backends"):
                self._runner.add(new)

    def rendezvous(self, rank: int) -> Rendezvous | None:
        """Connects this node to the others; None if there are none, or if no agent could reach theirs."""
        apart = self._is_first_on_host and self._settings.gather_nodes and self._several_nodes()
        if not apart or not isinstance(self._runner, AgentSupervisor):
            return None
        from tracelet.agent.nodes.rendezvous import Rendezvous

        return Rendezvous(self.folder, rank == 0, self._runner.configure_nodes)

    def finish(self, deadline: float) -> None:
        """Wait for the deliveries, at most until `deadline` (monotonic clock), and stop them."""
        runner, self._runner = self._runner, None
        if runner is None or self._pid != os.getpid():
            return
        with guard.guard("waiting for the delivery"):
            try:
                if self._backend_configs:
                    names = [config.name for config in self._backend_configs]
                    waiting = DeliveryWait(
                        self.folder, names, self._settings.quiet, runner.ensure_running, self._started_at,
                        continues=isinstance(runner, AgentSupervisor),
                    )  # fmt: skip
                    waiting.wait(max(0.0, deadline - time.monotonic()))
                if isinstance(runner, AgentSupervisor) and runner.spans_nodes:
                    self._wait_for_nodes(runner, deadline)
            finally:
                runner.stop()

    def _wait_for_nodes(self, supervisor: AgentSupervisor, deadline: float) -> None:
        from tracelet.agent.nodes.wait_for_nodes import wait_for_nodes

        if (
            not wait_for_nodes(self.folder, supervisor.receives, deadline, supervisor.ensure_running)
            and not self._settings.quiet
        ):
            what = "the data of other nodes" if supervisor.receives else "the data of this node"
            sys.stderr.write(
                f"tracelet: {what} is not complete on rank 0's node yet. Nothing is lost: each node keeps its data.\n"
            )
