"""The spans of validation, testing and prediction, and of their iterations.

Called on the training thread by wrappers around Lightning's evaluation and prediction loops, inside or outside a
training. An iteration begins when its batch is requested: see `iteration_phases`.
"""

from __future__ import annotations

from typing import Any

from tracelet.guard import guard
from tracelet.integrations.lightning.iteration_timer import CurrentIteration, IterationTimer
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.patching import Function, Patch
from tracelet.telemetry.names import LOOP_OF, PREDICT_ITERATION, TESTING_ITERATION, VALIDATION_ITERATION
from tracelet.telemetry.recording.span_recorder import ActiveSpan, SpanRecorder
from tracelet.telemetry.recording.training_job import EvaluationDurations, TrainingJob


class EvaluationLoops:
    """One span per evaluation and per batch of it."""

    def __init__(
        self, recorder: SpanRecorder, job: TrainingJob | None, trainer_calls: TrainerCalls, current: CurrentIteration
    ) -> None:
        self._recorder = recorder
        self._job = job
        self._trainer_calls = trainer_calls
        self._current = current

    def patches(self, root: str) -> list[Patch]:
        """The two loops, for one distribution of Lightning."""
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
            current = self._current
            outer = current.loop, current.timer
            current.loop = current.timer = None
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
                current.loop, current.timer = outer
            return result

        return run

    def _begin_evaluation(self, loop: Any) -> ActiveSpan | None:
        trainer = loop.trainer
        kind = TESTING_ITERATION if trainer.testing else VALIDATION_ITERATION
        kind = PREDICT_ITERATION if trainer.predicting else kind
        fit = self._trainer_calls.fit_of(trainer)
        attributes: dict[str, Any] = {"fit": fit.number}
        if trainer.sanity_checking:
            attributes["sanity_check"] = True
        if fit.trials:
            attributes["trial"] = True
        span = self._recorder.begin_automatic(LOOP_OF[kind], attributes)
        self._current.loop = timer = IterationTimer(kind, self._recorder, self._job)
        durations_of_kind = self._evaluations(kind)
        timer.durations = durations_of_kind.durations if durations_of_kind is not None and not fit.trials else None
        return span

    def _end_evaluation(self, span: ActiveSpan | None, error: BaseException | None) -> None:
        with guard("closing the span of an evaluation"):
            timer, loop = self._current.timer, self._current.loop
            if timer is not None:
                if error is None:
                    timer.discard()  # the last request found no batch
                else:
                    timer.fail(error)
            if loop is not None:
                loop.close()
            if span is not None:
                durations_of_kind = self._evaluations(loop.name if loop is not None else "")
                if durations_of_kind is not None and not span.ended and not span.attributes.get("trial"):
                    durations_of_kind.ended(span)
                span.end(error)

    def _evaluations(self, name: str) -> EvaluationDurations | None:
        if self._job is None:
            return None
        return {VALIDATION_ITERATION: self._job.validation, TESTING_ITERATION: self._job.testing}.get(name)

    def _around_step(self, original: Function) -> Function:
        def step(loop: Any, *args: Any, **kwargs: Any) -> Any:
            current = self._current
            if current.timer is None:
                if current.loop is None:
                    return original(loop, *args, **kwargs)
                current.timer = current.loop  # a step that fetches its batch itself
                current.timer.start()
            timer = current.timer
            try:
                result = original(loop, *args, **kwargs)
            except StopIteration:
                current.timer = None
                timer.discard()
                raise
            except BaseException as error:
                current.timer = None
                with guard("closing the span of an iteration"):
                    timer.fail(error)
                raise
            current.timer = None
            with guard("closing the span of an iteration"):
                timer.finish()
            return result

        return step
