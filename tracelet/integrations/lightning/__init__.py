"""The Lightning integration: one table of patches for each flavour that this process may import.

Started and stopped by the session. `lightning.pytorch` and `pytorch_lightning` are separate module trees with separate classes;
one program can use both, so both are patched, each when it is imported. Importing this package imports neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tracelet.integrations.base import Integration, Sink
from tracelet.integrations.lightning.lifecycle import Lifecycle
from tracelet.integrations.lightning.metrics import MetricCapture
from tracelet.integrations.patching import Patch

FLAVOURS = ("lightning.pytorch", "pytorch_lightning")


class LightningIntegration(Integration):
    """Records what Lightning's trainers do, in either flavour."""

    name = "lightning"

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        super().__init__(sink, settings)
        self.lifecycle = Lifecycle(sink)
        self._parts = [self.lifecycle, MetricCapture(sink, self.lifecycle)]

    def patches(self) -> Iterable[Patch]:
        """The patches of every part, for every flavour."""
        return [patch for root in FLAVOURS for part in self._parts for patch in part.patches(root)]
