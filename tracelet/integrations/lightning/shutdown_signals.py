"""Signals by which Lightning knows that a training will end: SLURM's signal to requeue, a SIGTERM, a Ctrl-C.

The wrappers run on the training thread, the first one inside Lightning's own signal handler. What they report is on
disk before Lightning begins its cleanup, so a process killed during the cleanup (by its launcher, or by a cluster with
a short grace period) has the status preempted or interrupted. tracelet installs no handler of its own.
"""

from __future__ import annotations

import signal
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import Sink
from tracelet.integrations.lightning.exit_status import exit_status
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.patching import Function, Patch
from tracelet.journal.records import INTERRUPTED, PREEMPTED

PATIENCE = 0.5
"""Seconds that an end waits for the disk. The write takes milliseconds; then a launcher kills its other ranks."""


class ShutdownSignals:
    """Records how the process will end as soon as Lightning knows."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls) -> None:
        self._sink = sink
        self._trainer_calls = trainer_calls

    def patches(self, root: str) -> list[Patch]:
        """The methods that receive a signal to requeue and that begin to handle an interruption."""
        connector = f"{root}.trainer.connectors.signal_connector"
        return [
            Patch(connector, "_SignalConnector._slurm_sigusr_handler_fn", self._around_requeue, optional=True),
            Patch(connector, "_SignalConnector._sigterm_notifier_fn", self._around_sigterm, optional=True),
            Patch(f"{root}.trainer.call", "_interrupt", self._around_interrupt, optional=True),
        ]

    def _around_requeue(self, original: Function) -> Function:
        def slurm_sigusr_handler_fn(connector: Any, number: int, *args: Any, **kwargs: Any) -> Any:
            with guard("noting that the job is requeued"):
                self._trainer_calls.preemption_notice = f"{signal.Signals(number).name}, requeued by SLURM"
                self._sink.expect(PREEMPTED, self._trainer_calls.preemption_notice)
            return original(connector, number, *args, **kwargs)

        return slurm_sigusr_handler_fn

    def _around_sigterm(self, original: Function) -> Function:
        def sigterm_notifier_fn(connector: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("noting a SIGTERM"):
                # Lightning talks to the other ranks before it stops at the end of a batch, and may wait there forever.
                told = self._trainer_calls.preemption_notice
                self._sink.expect(PREEMPTED, f"SIGTERM after {told}" if told else "SIGTERM")
            return original(connector, *args, **kwargs)

        return sigterm_notifier_fn

    def _around_interrupt(self, original: Function) -> Function:
        def interrupt(trainer: Any, error: BaseException, *args: Any, **kwargs: Any) -> Any:
            with guard("noting an interruption"):
                status, reason = exit_status(error)
                if status in {INTERRUPTED, PREEMPTED}:
                    self._sink.expect(status, reason)
                    self._sink.flush(PATIENCE)
            return original(trainer, error, *args, **kwargs)

        return interrupt
