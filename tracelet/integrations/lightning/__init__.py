"""The Lightning integration: one table of patches for each flavour that this process may import.

Started and stopped by the session. `lightning.pytorch` and `pytorch_lightning` are separate module trees with
separate classes; one program can use both, so both are patched, each when it is imported. Importing this package
imports neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from tracelet.integrations.base import Integration, Sink
from tracelet.integrations.lightning.checkpoint_resume import Resumption
from tracelet.integrations.lightning.checkpoints import Checkpoints
from tracelet.integrations.lightning.fabric import FABRICS, FabricMetrics
from tracelet.integrations.lightning.hyperparameters import Hyperparameters
from tracelet.integrations.lightning.learning_rate import GradientNorms, LearningRates
from tracelet.integrations.lightning.logger_calls import LoggerCalls
from tracelet.integrations.lightning.metrics import MetricCapture
from tracelet.integrations.lightning.shutdown_signals import Interruptions
from tracelet.integrations.lightning.spans import Spans
from tracelet.integrations.lightning.trainer_calls import Lifecycle
from tracelet.integrations.lightning.trainerless import Standalone
from tracelet.integrations.patching import Patch

FLAVOURS = ("lightning.pytorch", "pytorch_lightning")


class _Part(Protocol):
    def patches(self, root: str) -> list[Patch]: ...


class LightningIntegration(Integration):
    """Records what Lightning's trainers, modules and Fabrics do, in either flavour."""

    name = "lightning"

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        super().__init__(sink, settings)
        self.lifecycle = Lifecycle(sink)
        self._loggers = LoggerCalls(sink, self.lifecycle)
        self._standalone = Standalone(sink, self.lifecycle)
        self._fabric = FabricMetrics(sink, self.lifecycle)
        self._resumption = Resumption(self.lifecycle)
        metrics, checkpoints = MetricCapture(sink, self.lifecycle), Checkpoints(sink, self.lifecycle)
        checkpoints.saving.append(metrics.before_checkpoint)
        self._parts: list[_Part] = [
            self.lifecycle,
            self._resumption,
            Interruptions(sink, self.lifecycle),
            self._loggers,
            Hyperparameters(sink, self.lifecycle, self._loggers),
            metrics,
            checkpoints,
            self._standalone,
        ]
        if settings.get("track_learning_rate", True):
            self._parts.append(LearningRates(sink, self.lifecycle))
        if settings.get("track_gradients", False):
            self._parts.append(GradientNorms(sink, self.lifecycle))

        self._spans = Spans(sink, self.lifecycle) if settings.get("track_spans") else None
        if self._spans is not None:
            self._parts.append(self._spans)

    def patches(self) -> Iterable[Patch]:
        """The patches of every part, for every flavour."""
        trainers = [patch for root in FLAVOURS for part in self._parts for patch in part.patches(root)]
        if self._spans is not None:
            trainers += self._spans.common()
        return trainers + [patch for root in FABRICS for patch in self._fabric.patches(root)]

    def trace(self, on_checkpoint: Callable[[str], None]) -> None:
        """Have the paths of checkpoints from which trainings go on told."""
        self._resumption.on_checkpoint = on_checkpoint

    def carry(self) -> dict[str, int]:
        """A launched process numbers its fits as this one does; the one that launches it is both's."""
        return {"fits": self.lifecycle.before}

    def restore(self, carried: Mapping[str, int]) -> None:
        """Go on numbering fits from there."""
        self.lifecycle.before = carried.get("fits", 0)

    def start(self) -> None:
        """Patch every flavour that is imported and wait for the others."""
        self.lifecycle.recording = True
        super().start()

    def stop(self) -> None:
        """Put everything back, on classes and on instances."""
        super().stop()
        self.lifecycle.recording = False
        if self._spans is not None:
            self._spans.stop()
        self._loggers.stop()
        self._standalone.stop()
