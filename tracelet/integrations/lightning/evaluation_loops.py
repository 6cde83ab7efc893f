"""The spans of validation, testing and prediction, and of their iterations.

Called on the training thread by wrappers around Lightning's evaluation and prediction loops, inside a training or
outside one. An iteration begins when its batch is asked for: see `phases`.
"""

from __future__ import annotations

from typing import Any

from tracelet.guard import guard
from tracelet.integrations.lightning.iteration_timer import Here, Lap
from tracelet.integrations.lightning.trainer_calls import Lifecycle
from tracelet.integrations.patching import Function, Patch
from tracelet.telemetry.names import LOOP_OF, PREDICT_ITERATION, TESTING_ITERATION, VALIDATION_ITERATION
from tracelet.telemetry.recording.span_recorder import ActiveSpan, Recorder
from tracelet.telemetry.recording.training_job import Evaluations, Job


class Evaluating:
    """Spans for each evaluation and each of its batches."""

    def __init__(self, recorder: Recorder, job: Job | None, lifecycle: Lifecycle, here: Here) -> None:
        self._recorder = recorder
        self._job = job
        self._lifecycle = lifecycle
        self._here = here

    def patches(self, root: str) -> list[Patch]:
        """The two loops, for one flavour of Lightning."""
        found = []
        for module, name, step in (
            ("evaluation_loop", "_EvaluationLoop", "_evaluation_step"),
            ("prediction_loop", "_PredictionLoop", "_predict_step"),
        ):
            found.append(Patch(f"{root}.loops.{module}", f"{name}.run", self._around_evaluation))
            found.append(Patch(f"{root}.loops.{module}", f"{name}.{step}", self._around_step, direct=True))
        return found

    def _around_evaluation(self, original: Function) -> Function:
        def run(loop: Any, *args: Any, **kwargs: Any) -> Any:
            here = self._here
            outer = here.loop, here.lap
            here.loop = here.lap = None
            span: ActiveSpan | None = None
            with guard("opening the span of an evaluation"):
                span = self._begin_evaluation(loop)
            try:
                result = original(loop, *args, **kwargs)
            except BaseException as error:
                self._end_evaluation(span, error)
                raise
            else:
                self._end_evaluation(span, None)
            finally:
                here.loop, here.lap = outer
            return result

        return run

    def _begin_evaluation(self, loop: Any) -> ActiveSpan | None:
        trainer = loop.trainer
        kind = TESTING_ITERATION if trainer.testing else VALIDATION_ITERATION
        kind = PREDICT_ITERATION if trainer.predicting else kind
        fit = self._lifecycle.fit_of(trainer)
        attributes: dict[str, Any] = {"fit": fit.number}
        if trainer.sanity_checking:
            attributes["sanity_check"] = True
        if fit.trials:
            attributes["trial"] = True
        span = self._recorder.begin_found(LOOP_OF[kind], attributes)
        self._here.loop = lap = Lap(kind, self._recorder, self._job)
        told = self._evaluations(kind)
        lap.meter = told.meter if told is not None and not fit.trials else None
        return span

    def _end_evaluation(self, span: ActiveSpan | None, error: BaseException | None) -> None:
        with guard("closing the span of an evaluation"):
            lap, loop = self._here.lap, self._here.loop
            if lap is not None:
                if error is None:
                    lap.drop()  # the last request found nothing
                else:
                    lap.fail(error)
            if span is not None:
                told = self._evaluations(loop.name if loop is not None else "")
                if told is not None and not span.ended and not span.attributes.get("trial"):
                    told.ended(span)
                span.end(error)

    def _evaluations(self, name: str) -> Evaluations | None:
        if self._job is None:
            return None
        return {VALIDATION_ITERATION: self._job.validation, TESTING_ITERATION: self._job.testing}.get(name)

    def _around_step(self, original: Function) -> Function:
        def step(loop: Any, *args: Any, **kwargs: Any) -> Any:
            here = self._here
            if here.lap is None:
                if here.loop is None:
                    return original(loop, *args, **kwargs)
                here.lap = here.loop  # a step that fetches its batch itself
                here.lap.start()
            lap = here.lap
            try:
                result = original(loop, *args, **kwargs)
            except StopIteration:
                here.lap = None
                lap.drop()
                raise
            except BaseException as error:
                here.lap = None
                with guard("closing the span of an iteration"):
                    lap.fail(error)
                raise
            here.lap = None
            with guard("closing the span of an iteration"):
                lap.finish()
            return result

        return step
