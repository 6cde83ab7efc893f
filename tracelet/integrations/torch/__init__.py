"""The PyTorch integration: objects, loops and files of programs without a framework.

Started and stopped by the session. Importing this package does not import torch. `loop_hooks` contains what is called
at every step; while Lightning trains, none of that is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tracelet.integrations.base import Integration
from tracelet.integrations.patching import Patch
from tracelet.integrations.torch.checkpoint_files import CheckpointFiles
from tracelet.integrations.torch.collective_waits import CollectiveWaits
from tracelet.integrations.torch.compiler_skips import compiler_skips
from tracelet.integrations.torch.construction import construction_spans
from tracelet.integrations.torch.loop_hooks import LoopHooks
from tracelet.integrations.torch.loop_records import LoopRecords
from tracelet.integrations.torch.optimizer_records import OptimizerRecords
from tracelet.integrations.torch.origins import Origins
from tracelet.integrations.training_loops import plain
from tracelet.telemetry.recording import active_recorder


class TorchIntegration(Integration):
    """Records plain PyTorch programs without a call."""

    name = "torch"

    def patches(self) -> Iterable[Patch]:
        """The constructors, the hooks of loops, and the files."""
        recorder = active_recorder.recorder() if self.settings.get("track_spans") else None
        mine = recorder is not None and recorder.sink is self.sink
        job = active_recorder.job() if mine else None
        records = LoopRecords(recorder, job) if recorder is not None and mine else None
        optimizers = OptimizerRecords(self.sink, self.settings)
        self._hooks = LoopHooks(records, optimizers)
        if job is not None:
            job.catch_up = self._hooks.catch_up
        files = CheckpointFiles(self.sink, records, optimizers)
        files.on_load = self._on_checkpoint
        at_rest = [*self._hooks.patches(), *Origins(self.sink, optimizers).patches(), *files.patches()]
        self._standby = at_rest
        plain.add(at_rest)
        constructors = construction_spans() if self.settings.get("track_spans") else []
        self._waits = CollectiveWaits(recorder, job) if recorder is not None and mine else None
        waits = self._waits.patches() if self._waits is not None else []
        return [compiler_skips(), *constructors, *waits, *at_rest]

    _on_checkpoint: Callable[[str], None] | None = None

    def watch_resumes(self, on_checkpoint: Callable[[str], None]) -> None:
        """Report the paths of checkpoints that the program loads."""
        self._on_checkpoint = on_checkpoint

    def stop(self) -> None:
        """Revert everything, and end open spans."""
        for patch in getattr(self, "_standby", ()):
            if patch in plain.patches:
                plain.patches.remove(patch)
        super().stop()
        hooks = getattr(self, "_hooks", None)
        if hooks is not None:
            hooks.stop()
        waits = getattr(self, "_waits", None)
        if waits is not None:
            waits.stop()
