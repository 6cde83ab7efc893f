"""The Lightning integration: one table of patches for each distribution that this process may import.

Started and stopped by the session. `lightning.pytorch` and `pytorch_lightning` are separate module trees with separate
classes; one program can use both, so both are patched, each when it is imported. Importing this package imports
neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

from tracelet.integrations.base import Integration, Sink
from tracelet.integrations.lightning.checkpoint_resume import CheckpointResume
from tracelet.integrations.lightning.checkpoints import Checkpoints
from tracelet.integrations.lightning.fabric import FABRICS, FabricMetrics, FabricRun
from tracelet.integrations.lightning.fit_end import FitEnd
from tracelet.integrations.lightning.hyperparameters import Hyperparameters
from tracelet.integrations.lightning.learning_rate import GradientNorms, LearningRates
from tracelet.integrations.lightning.logger_calls import LoggerCalls
from tracelet.integrations.lightning.metrics import MetricCapture
from tracelet.integrations.lightning.monitors import state_monitors
from tracelet.integrations.lightning.shutdown_signals import ShutdownSignals
from tracelet.integrations.lightning.spans import LightningSpans
from tracelet.integrations.lightning.trainable_parameters import TrainableParameters
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.lightning.trainerless import TrainerlessLogging
from tracelet.integrations.metric_goals import MetricGoals
from tracelet.integrations.patching import Patch

FLAVOURS = ("lightning.pytorch", "pytorch_lightning")


class _Part(Protocol):
    def patches(self, root: str) -> list[Patch]: ...


class LightningIntegration(Integration):
    """Records trainers, modules and Fabrics of either distribution."""

    name = "lightning"

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        super().__init__(sink, settings)
        self.trainer_calls = TrainerCalls(sink)
        self._loggers = LoggerCalls(sink, self.trainer_calls)
        self._trainerless = TrainerlessLogging(sink, self.trainer_calls)
        self._fabric = FabricMetrics(sink, self.trainer_calls)
        self._checkpoint_resume = CheckpointResume(self.trainer_calls)
        goals = MetricGoals(sink, self.name)
        metrics = MetricCapture(sink, self.trainer_calls, goals)
        checkpoints = Checkpoints(sink, self.trainer_calls)
        checkpoints.saving.append(metrics.before_checkpoint)
        hyperparameters = Hyperparameters(sink, self.trainer_calls, self._loggers)
        hyperparameters.on_setup = partial(state_monitors, goals)
        self._trainerless.on_module = hyperparameters.tell_module
        self._fabric_run = FabricRun(sink, hyperparameters, self._loggers, bool(settings.get("track_spans")))
        self._parts: list[_Part] = [
            self.trainer_calls,
            self._checkpoint_resume,
            ShutdownSignals(sink, self.trainer_calls),
            self._loggers,
            hyperparameters,
            metrics,
            checkpoints,
            FitEnd(sink, self.trainer_calls),
            TrainableParameters(sink, self.trainer_calls),
            self._trainerless,
        ]
        if settings.get("track_learning_rate", True):
            self._parts.append(LearningRates(sink, self.trainer_calls))
        if settings.get("track_gradients", False):
            self._parts.append(GradientNorms(sink, self.trainer_calls))

        self._spans = LightningSpans(sink, self.trainer_calls) if settings.get("track_spans") else None
        if self._spans is not None:
            self._parts.append(self._spans)

    def patches(self) -> Iterable[Patch]:
        """The patches of every part, for both distributions."""
        trainers = [patch for root in FLAVOURS for part in self._parts for patch in part.patches(root)]
        if self._spans is not None:
            trainers += self._spans.common()
        fabrics = (self._fabric, self._fabric_run)
        return trainers + [patch for root in FABRICS for part in fabrics for patch in part.patches(root)]

    def watch_resumes(self, on_checkpoint: Callable[[str], None]) -> None:
        """Report the paths of checkpoints from which trainings resume."""
        self._checkpoint_resume.on_checkpoint = on_checkpoint
        self._fabric_run.on_load = on_checkpoint

    def launch_counts(self) -> dict[str, int]:
        """A launched process continues this one's numbering of fits; the fit that launches it counts as one."""
        return self.trainer_calls.launch_counts()

    def restore_counts(self, counts: Mapping[str, int]) -> None:
        """Continue the numbering of fits from there."""
        self.trainer_calls.restore_counts(counts)

    def start(self) -> None:
        """Patch each imported distribution and wait for the others."""
        self.trainer_calls.recording = True
        super().start()

    def stop(self) -> None:
        """Revert everything, on classes and on instances."""
        super().stop()
        self.trainer_calls.recording = False
        if self._spans is not None:
            self._spans.stop()
        self._loggers.stop()
        self._trainerless.stop()
