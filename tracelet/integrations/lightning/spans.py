"""The spans of a Lightning training: its loops, their iterations, initialization and checkpoint saves.

Created by `LightningIntegration` if spans are tracked; the wrappers are in `training_loop`, `evaluation_loops`,
`initialization_spans` and `checkpoint_spans`.
"""

from __future__ import annotations

from tracelet.integrations.base import Sink
from tracelet.integrations.lightning.checkpoint_spans import CheckpointSpans
from tracelet.integrations.lightning.initialization_spans import InitializationSpans
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.lightning.training_loop import TrainingLoop
from tracelet.integrations.patching import Patch
from tracelet.telemetry.recording import active_recorder
from tracelet.telemetry.recording.span_recorder import SpanRecorder


class LightningSpans:
    """All patches that record spans, for the active run or, without one, for the given sink."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls) -> None:
        recorder = active_recorder.recorder()
        job = active_recorder.job() if recorder is not None and recorder.sink is sink else None
        if recorder is None or recorder.sink is not sink:
            recorder = SpanRecorder(sink)
        self._loops = TrainingLoop(recorder, job, trainer_calls)
        self._parts = (self._loops, InitializationSpans(recorder), CheckpointSpans(recorder, job, trainer_calls))

    def patches(self, root: str) -> list[Patch]:
        """The patches for one distribution of Lightning."""
        return [patch for part in self._parts for patch in part.patches(root)]

    def common(self) -> list[Patch]:
        """The patches common to both distributions."""
        return self._loops.common()

    def stop(self) -> None:
        """Record nothing more, even through wrappers that somebody has kept."""
        self._loops.stop()
