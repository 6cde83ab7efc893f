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
from tracelet.errors import SettingsError
from tracelet.journal.records import RUNNING
from tracelet.session import backend_arguments
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
    run: Run, settings: Settings, asked: Sequence[str] = (), include_unfinished: bool = False
) -> Iterator[PendingDelivery]:
    """The deliveries of a run to the given backends, otherwise to those with which it was started.

    `include_unfinished` adds backends that an earlier `sync --backend` named and that are incomplete. Options come from
    the run's record, overridden by the settings, which have the credentials.
    """
    recorded = _recorded(run)
    names = list(asked) or [name for name in recorded if not sdk_variables.switched_off(name)]
    if include_unfinished:
        names += [name for name in _unfinished(run) if name not in names]
    tables = {name: {**recorded.get(name, {}), **settings.tables.get(name, {})} for name in names}
    backends = backend_arguments.parse(names, tables)
    if len(backends) == 1:
        backends = backend_arguments.with_address(backends, settings.api_key, settings.backend_url)
    total = _points(run)
    for config in registry.backend_configs(backends):
        delivery = delivery_state.read(run.path, config.name) or Delivery(backend=config.name)
        yield PendingDelivery(run, config, delivery, total, named=config.name in recorded)


def _unfinished(run: Run) -> Iterator[str]:
    for name, delivery in run.deliveries.items():
        if delivery.state != DONE:
            with suppress(SettingsError):  # a class that only the settings of that time knew
                registry.backend_reference(name, {})
                yield name


def _recorded(run: Run) -> Mapping[str, Mapping[str, Any]]:
    processes = [view.started for view in run.views if view.started is not None]
    leading = [started for started in processes if started.role == "rank" and started.rank == 0]
    return leading[-1].backends if leading else {}


def _points(run: Run) -> int:
    views = [view for view in run.views if view.started and (view.started.role == "node" or not view.started.rank)]
    return sum(metric.count for view in views for metric in view.metrics.values())


def running(run: Run) -> bool:
    """Whether the training is running."""
    return run.info.status == RUNNING
