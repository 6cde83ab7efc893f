"""The deliveries of a run and their progress. Used by `sync` and `doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tracelet import registry
from tracelet.agent.delivery.batch_reader import BatchReader
from tracelet.agent.process.configuration import BackendConfig
from tracelet.agent.process.locks import holder, lock_path
from tracelet.backends import sdk_variables
from tracelet.cli import recorded_destinations
from tracelet.cli.recorded_destinations import Destination
from tracelet.cli.withheld_credentials import obstacle, without_credentials
from tracelet.errors import SettingsError
from tracelet.journal.records import RUNNING
from tracelet.session import backend_arguments, run_origin
from tracelet.settings import Settings
from tracelet.store import delivery_state
from tracelet.store.delivery_state import DONE, Delivery
from tracelet.store.run import Run


@dataclass(frozen=True)
class PendingDelivery:
    """The delivery of one run to one backend."""

    run: Run
    config: BackendConfig
    delivery: Delivery
    total: int
    """Points of the run to deliver to backends."""
    named: bool = True
    """Whether the run itself names the backend; a backend from `sync --backend` must be named again there."""
    doubt: str = ""
    """Why it is not delivered: the destination came with a foreign run. See `recorded_destinations`."""
    without_credentials: bool = False
    """Whether the destination is confirmed, but no credential of this user is meant for it."""

    @property
    def command(self) -> str:
        """The command that delivers it."""
        return f"tracelet sync {self.run.id}" + ("" if self.named else f" --backend {self.config.name}")

    @property
    def left(self) -> int:
        """Points not delivered yet."""
        return max(0, self.total - self.delivery.points)

    @property
    def complete(self) -> bool:
        """Whether everything has been delivered, including the end of the run."""
        feed = BatchReader(self.run.path)
        feed.every_rank = self.delivery.every_rank
        return self.delivery.state == DONE and feed.next(self.delivery.cursors) is None

    @property
    def holder(self) -> int:
        """The pid of the process that is delivering it; 0 if there is none."""
        name = f"{self.config.name}.lock"
        return holder(self.run.path / delivery_state.FOLDER / name)

    @property
    def agent(self) -> int:
        """The pid of the run's agent on this host; 0 if there is none."""
        return holder(lock_path(self.run.path))


def pending_deliveries(
    run: Run, settings: Settings, asked: Sequence[str] = (), include_unfinished: bool = False, trust: bool = False
) -> Iterator[PendingDelivery]:
    """The deliveries of a run to the given backends, otherwise to those with which it was started.

    `include_unfinished` adds backends that an earlier `sync --backend` named and that are incomplete. Options come from
    the run's record, overridden by the settings, which have the credentials. `trust`: the user confirms the recorded
    addresses of runs of others.
    """
    recorded, own = _recorded(run)
    names = [name.lower() for name in asked] or [name for name in recorded if not sdk_variables.switched_off(name)]
    if include_unfinished:
        names += [name for name in _unfinished(run) if name not in names]
    total = _points(run)
    for name in names:
        options = recorded.get(name, {})
        destination = recorded_destinations.resolve(run, name, options, settings, own, bool(asked), trust)
        config, doubt = _config(name, destination, settings, alone=len(names) == 1)
        delivery = delivery_state.read(run.path, config.name) or Delivery(backend=config.name)
        yield PendingDelivery(
            run, config, delivery, total, config.name in recorded, doubt, bool(destination.foreign_addresses)
        )


def _config(name: str, destination: Destination, settings: Settings, alone: bool) -> tuple[BackendConfig, str]:
    """How to reach it, and why not, if the destination is in doubt."""
    if destination.doubt:
        return BackendConfig(name=delivery_state.checked_name(name), reference=""), destination.doubt
    backends = backend_arguments.parse({name: destination.options}, {})
    doubt = ""
    if destination.foreign_addresses:
        backends = {key: without_credentials(options) for key, options in backends.items()}
        doubt = obstacle(name)
    elif alone:
        backends = backend_arguments.with_address(backends, settings.api_key, settings.backend_url)
    (config,) = registry.backend_configs(backends)
    return config, doubt


def _unfinished(run: Run) -> Iterator[str]:
    for name, delivery in run.deliveries.items():
        if delivery.state != DONE:
            with suppress(SettingsError):  # a class that only the settings of that time knew
                registry.backend_reference(name, {})
                yield name


def is_own(run: Run) -> bool:
    """Whether this user recorded the run and its destinations."""
    return _recorded(run)[1]


def _recorded(run: Run) -> tuple[Mapping[str, Mapping[str, Any]], bool]:
    """The recorded backends, and whether this user recorded them."""
    processes = [view.started for view in run.views if view.started is not None]
    leading = [started for started in processes if started.role == "rank" and started.rank == 0]
    return (leading[-1].backends, run_origin.is_own(leading[-1])) if leading else ({}, False)


def _points(run: Run) -> int:
    views = [view for view in run.views if view.started and (view.started.role == "node" or not view.started.rank)]
    return sum(metric.count for view in views for metric in view.metrics.values())


def running(run: Run) -> bool:
    """Whether the training is running."""
    return run.info.status == RUNNING
