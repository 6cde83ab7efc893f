"""What spans cost a training step, which hook takes what share, and whether the cost stays the same after a million
iterations.

1. Trainings with spans and without them by turns, everything else of tracelet off: thread CPU time of a step, so that
the neighbours on a shared machine count as little as possible. 2. The work of each hook by itself: the same calls that
one iteration makes, on a recorder whose sink keeps nothing. 3. The alternative that was not taken: the same phases told
through Lightning's profiler, whose `start` and `stop` are called some 56 times in a step of a model without callbacks.
4. An iteration at 1,000 and at 1,000,000 (`--quick`: 100,000), and the memory that the process took in between. 5. The
writer thread's part: packing, and bytes on disk before compaction.
"""

from __future__ import annotations

import gc
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import psutil

import tracelet
from tracelet.capture.running_fits import RunningFits
from tracelet.capture.sink import Item
from tracelet.capture.span_packing import ITERATION_WIDTH, pack_iterations
from tracelet.integrations.lightning.iteration_timer import INNER_HOOKS, IterationTimer
from tracelet.telemetry.names import (
    DATA_LOADING,
    MODEL_BACKWARD,
    MODEL_FORWARD,
    OPTIMIZER_UPDATE,
    TRAINING_ITERATION,
    ZERO_GRAD,
)
from tracelet.telemetry.recording.span_recorder import SpanRecorder
from tracelet.telemetry.recording.training_context import ProcessInfo
from tracelet.telemetry.recording.training_job import TrainingJob

WARM_UP = 50
REPEAT = 20_000
PROFILED_ACTIONS = 28
"""Actions that Lightning 2.6 passes through its profiler in one step of a model with one callback."""


class Nowhere:
    """A sink that keeps the last items, so that packing has something to pack."""

    def __init__(self, keep: int = 0) -> None:
        self.kept: list[Item] = []
        self.fits = RunningFits(lambda change: None)
        self._keep = keep

    def flush(self, timeout: float | None = None) -> bool:
        """Nothing is on its way."""
        return True

    def emit(self, item: Item) -> None:
        """Keep it or not."""
        if len(self.kept) < self._keep:
            self.kept.append(item)

    def expect(self, status: str, reason: str) -> None:
        """Nothing is expected."""


def train(steps: int) -> float:
    """Seconds of thread CPU time a step of one small training."""
    import torch
    from lightning import LightningModule, Trainer

    class Tiny(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(16, 1)
            self.began = self.ended = 0.0

        def training_step(self, batch: Any, batch_index: int) -> torch.Tensor:
            if batch_index == WARM_UP:
                self.began = time.thread_time()
            self.ended = time.thread_time()
            (inputs,) = batch
            loss: torch.Tensor = self.layer(inputs).square().mean()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    torch.set_num_threads(1)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn((steps + WARM_UP + 1) * 8, 16)), 8)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    model = Tiny()
    trainer.fit(model, data)
    return (model.ended - model.began) / steps


def tracked(steps: int, store: Path, spans: bool) -> float:
    """The same inside a run that records spans, or everything of it but spans."""
    gc.collect()
    settings = {
        **measure.ALONE,
        "track_lightning": True,
        "track_learning_rate": False,
        "track_spans": spans,
        "dir": str(store),
    }
    with tracelet.start_logging("spans-cost", config=settings):
        return train(steps)


def iteration(timer: IterationTimer) -> None:
    """What the wrappers of one automatic training step do."""
    timer.start()
    timer.marks += DATA_LOADING, time.perf_counter_ns()
    hook(timer, "on_train_batch_start", BATCH, 0)
    timer.marks += MODEL_FORWARD, time.perf_counter_ns()
    hook(timer, "on_before_zero_grad")
    timer.marks += ZERO_GRAD, time.perf_counter_ns()
    hook(timer, "on_before_backward")
    hook(timer, "on_after_backward")
    timer.marks += MODEL_BACKWARD, time.perf_counter_ns()
    hook(timer, "on_before_optimizer_step")
    timer.marks += OPTIMIZER_UPDATE, time.perf_counter_ns()
    hook(timer, "on_train_batch_end", OUTPUTS, BATCH, 0)
    timer.finish()


def hook(timer: IterationTimer, name: str, *args: Any) -> None:
    """The wrapper of Lightning's callback hooks; nobody has overridden those within phases."""
    if name in INNER_HOOKS:
        _nothing(None, name, *args)
        return
    began = time.perf_counter_ns()
    try:
        _nothing(None, name, *args)
    finally:
        timer.callbacks_finished(name, began, args)


class _Shaped:
    shape = (8, 16)


BATCH = [_Shaped()]
OUTPUTS: dict[str, Any] = {}


def _nothing(*_: Any) -> None:
    return None


def each(call: Callable[[], Any], times: int = REPEAT) -> float:
    """Nanoseconds of one call: the least of five rounds, which disturbances cannot shorten."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter_ns()
        for _ in range(times):
            call()
        best = min(best, (time.perf_counter_ns() - began) / times)
    return best


def fresh(keep: int = 0) -> tuple[IterationTimer, Nowhere]:
    """The laps of one training loop of a new recorder."""
    sink = Nowhere(keep)
    recorder = SpanRecorder(sink)
    job = TrainingJob(recorder, ProcessInfo(), 50)
    job.training.loop_started(recorder.begin("training_loop", job.training.begin_loop(0)))
    return IterationTimer(TRAINING_ITERATION, recorder, job), sink


def hooks() -> None:
    """The share of each hook."""
    timer, _ = fresh()
    whole = each(lambda: iteration(timer))
    measure.row("all hooks of one step", f"{whole / 1e3:.2f} us", "aim 15 us")

    def of_mark() -> None:
        timer.marks += MODEL_FORWARD, time.perf_counter_ns()
        timer.marks.clear()

    def of_nobody() -> None:
        hook(timer, "on_after_backward")

    def of_batch() -> None:
        hook(timer, "on_train_batch_start", BATCH, 0)
        hook(timer, "on_train_batch_end", OUTPUTS, BATCH, 0)
        timer.marks.clear()

    def of_frame() -> None:
        timer.start()
        timer.finish()

    mark, nobody, batch, frame = map(each, (of_mark, of_nobody, of_batch, of_frame))
    measure.row("a phase's end (5 in a step)", f"{mark:.0f} ns  {5 * mark / whole:.0%}")
    measure.row("a callback hook that nobody has (4 in a step)", f"{nobody:.0f} ns  {4 * nobody / whole:.0%}")
    measure.row("the callback hooks of a batch's begin and end", f"{batch:.0f} ns  {batch / whole:.0%}")
    measure.row("begin and end, figures of the window included", f"{frame:.0f} ns  {frame / whole:.0%}")
    actions: dict[str, int] = {}

    def profiled() -> None:
        for _ in range(PROFILED_ACTIONS):
            actions["start"] = time.perf_counter_ns()
            actions["stop"] = time.perf_counter_ns()

    called = each(_nothing) * 2 * PROFILED_ACTIONS
    measure.row(
        "for comparison: by Lightning's profiler, 28 actions", f"{(each(profiled, 2000) + called) / 1e3:.2f} us"
    )


def endurance(many: int) -> None:
    """An iteration late in a run, against one early in it."""
    timer, _ = fresh()
    process = psutil.Process()
    for _ in range(1000):
        iteration(timer)
    early = each(lambda: iteration(timer), 1000)
    before = process.memory_info().rss
    for _ in range(many):
        iteration(timer)
    grown = (process.memory_info().rss - before) / 1e6
    late = each(lambda: iteration(timer), 1000)
    measure.row(f"an iteration at {many:,} / at 1,000", f"{late / early:.2f}", "budget 1.1")
    measure.row("memory grown meanwhile", f"{grown:.1f} MB", "budget 64 MB")


def packing() -> None:
    """What the writer thread does for it."""
    import msgspec

    timer, sink = fresh(keep=500)
    for _ in range(600):
        iteration(timer)
    items: list[Any] = [item for item in sink.kept if isinstance(item, tuple) and len(item) == ITERATION_WIDTH]
    took = each(lambda: pack_iterations(items), 20)
    measure.row("packing an iteration, on the writer thread", f"{took / len(items) / 1e3:.2f} us")
    size = len(msgspec.msgpack.encode(pack_iterations(items)))
    measure.row("an iteration of 10 spans in the journal", f"{size / len(items):.0f} bytes")


def main(quick: bool, store: Path) -> None:
    """All parts."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    hooks()
    packing()
    endurance(100_000 if quick else 1_000_000)
    steps, rounds = (200, 5) if quick else (500, 21)
    for spans in (False, True):
        tracked(steps, store, spans)
    on, off = measure.pairs(rounds, lambda: tracked(steps, store, True), lambda: tracked(steps, store, False))
    extra = statistics.median(one - other for one, other in zip(on, off, strict=True))
    measure.row("a step without spans (CPU time of its thread)", f"{statistics.median(off) * 1e6:.0f} us")
    measure.row("a step with spans / without", f"{measure.ratio(on, off):.3f}  {extra * 1e6:+.1f} us", "aim +15 us")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Lightning's advice about workers and logging intervals
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        main(chosen.quick, made)
