"""How long a process waits for the other ranks: in PyTorch's collectives, and in the backward pass of its reducer.

Called on the thread that waits. A process group's `Work.wait` is what every collective called from Python ends in
(Lightning's broadcasts and barriers too). The reducer of DistributedDataParallel waits in C++, at the end of the
backward pass; it notes when each gradient was ready, and what follows the last of them is the wait. The wrapper of
`backward` is installed once a DistributedDataParallel has run, so programs of one process pay nothing. With NCCL the
device waits and not the host: such waits are not seen here.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.patching import Function, Patch, PatchGroup
from tracelet.telemetry.names import COLLECTIVE_WAIT
from tracelet.telemetry.recording.span_recorder import SpanRecorder
from tracelet.telemetry.recording.training_job import TrainingJob

MIN_WAIT_NS = 50_000
"""A shorter wait is the call itself."""
PLACE = "timing a wait for other ranks"


class CollectiveWaits:
    """One span for each wait, inside whatever the thread has open."""

    def __init__(self, recorder: SpanRecorder, job: TrainingJob | None) -> None:
        self._recorder = recorder
        self._job = job
        self._pending: dict[int, tuple[Any, int]] = {}
        """Reducers that the next backward pass synchronizes, each with the time from which it counts."""
        self._backward = PatchGroup(needed=0)
        self._found_reducer = False

    def patches(self) -> list[Patch]:
        """The places where PyTorch waits."""
        parallel = "torch.nn.parallel.distributed"
        backward = Patch("torch.autograd", "backward", self._around_backward, direct=True)
        self._backward.add([backward])
        return [
            Patch("torch.distributed.distributed_c10d", "Work.wait", self._around_wait, True, True),
            Patch(parallel, "DistributedDataParallel._post_forward", self._around_forward, True, True),
            Patch(parallel, "DistributedDataParallel._sync_buffers", self._around_wait, True, True),
            backward,
        ]

    def stop(self) -> None:
        """Forget the reducers."""
        self._pending.clear()

    def _around_wait(self, original: Function) -> Function:
        def wait(subject: Any, *args: Any, **kwargs: Any) -> Any:
            began = perf_counter_ns()
            try:
                return original(subject, *args, **kwargs)
            finally:
                ended = perf_counter_ns()
                if ended - began > MIN_WAIT_NS:
                    with guard(PLACE):
                        self._waited(began, ended)

        return wait

    def _around_forward(self, original: Function) -> Function:
        def post_forward(module: Any, output: Any) -> Any:
            result = original(module, output)
            with guard(PLACE):
                self._expect_backward(module)
            return result

        return post_forward

    def _expect_backward(self, module: Any) -> None:
        """The reducer counts from here on, if this pass is to be synchronized."""
        import torch

        if torch.is_grad_enabled() and module.require_backward_grad_sync:
            self._pending[id(module)] = module.reducer, perf_counter_ns()
            if not self._found_reducer:
                self._found_reducer = True
                self._backward.adjust_users(1)

    def _around_backward(self, original: Function) -> Function:
        def backward(*args: Any, **kwargs: Any) -> Any:
            if not self._pending:
                return original(*args, **kwargs)
            began = perf_counter_ns()
            result = original(*args, **kwargs)
            ended = perf_counter_ns()
            with guard(PLACE):
                self._synchronized(began, ended)
            return result

        return backward

    def _synchronized(self, began: int, ended: int) -> None:
        """A backward pass has ended: what came after the last gradient was waiting."""
        ready = max(since + max(reducer.get_backward_stats(), default=0) for reducer, since in self._pending.values())
        self._pending.clear()
        if began < ready < ended - MIN_WAIT_NS:
            self._waited(ready, ended)

    def _waited(self, began: int, ended: int) -> None:
        recorder = self._recorder
        holder = recorder.current()
        recorder.add(COLLECTIVE_WAIT, began + recorder.origin_ns, ended - began, holder.id if holder else recorder.root)
        if self._job is not None:
            self._job.training.waits.add(began, ended)
