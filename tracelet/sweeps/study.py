"""The trials of a sweep in Optuna: takes the next one, samples its parameters, and keeps what is known of each.

The only file that imports Optuna's samplers and storages; used by controllers on one thread. A trial waits in the
storage until a controller takes it, atomically, so that any number of controllers run each trial once.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracelet.errors import SweepError, install_command
from tracelet.sweeps.grid import grid_parameters, grid_places
from tracelet.sweeps.parameter import Parameter
from tracelet.sweeps.sweep_config import BAYES, GRID_SEARCH, SweepConfig

if TYPE_CHECKING:
    from optuna.study import Study

WAITING, RUNNING, FINISHED, FAILED, PRUNED = "waiting", "running", "finished", "failed", "pruned"
STUDY_NAME = "tracelet-sweep-"
MAX_GRID = 100_000
"""Points of a grid that are put into the storage; nobody waits for more trials."""


@dataclass
class Trial:
    """One trial, as the storage has it."""

    number: int
    status: str
    values: dict[str, Any]
    """The parameters by dotted name; empty while the trial waits."""
    metric: float | None = None
    reason: str = ""
    at_bands: dict[int, float] = field(default_factory=dict)
    """Value of the metric by the number of values logged."""
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def attempt(self) -> int:
        """How often the trial was started before its current run."""
        return int(self.attributes.get("attempt", 0))

    @property
    def has_ended(self) -> bool:
        """Whether it will not run again."""
        return self.status in {FINISHED, FAILED, PRUNED}


def import_optuna() -> Any:
    """Optuna, silent; SweepError if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import optuna
    except ImportError:
        raise SweepError(f"a sweep needs Optuna 5. Type: {install_command('sweep')}") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class SweepStudy:
    """The storage of one sweep."""

    def __init__(self, sweep: str, config: SweepConfig, storage: Any, seed: int | None) -> None:
        optuna = import_optuna()
        self._optuna, self._seed, self.config = optuna, seed, config
        self._parameters = grid_parameters(config.parameters) if config.method == GRID_SEARCH else config.parameters
        self._searched = [parameter for parameter in self._parameters if parameter.is_searched]
        goal = config.objective.goal if config.objective is not None else "minimize"
        self._study: Study = optuna.create_study(
            storage=storage, study_name=STUDY_NAME + sweep, direction=goal, load_if_exists=True
        )
        self._storage, self._id = self._study._storage, self._study._study_id
        self._ids: dict[int, int] = {}
        self._total: int | None = None
        self._points: list[dict[str, int]] = []
        """Of a grid: the indices of the values of each trial, by its number."""

    def prepare(self, count: int | None) -> None:
        """Let trials wait, up to this many in all; a grid has all its points.

        If two controllers do so at the same moment there are too many; nobody takes those beyond the number.
        """
        total = count
        if self.config.method == GRID_SEARCH:
            self._points = list(grid_places(self._parameters, MAX_GRID if count is None else min(count, MAX_GRID)))
            if count is None and len(self._points) == MAX_GRID:
                raise SweepError(f"the grid has {MAX_GRID:,} points or more. Give --count, or use `method: random`")
            total = len(self._points)
        self._total = total
        for _ in range((total or 0) - len(self._all())):
            self._study.enqueue_trial({})

    def take(self, unlimited: bool = False) -> Trial | None:
        """The next trial that waits, with its parameters; None if there is none, or another controller took it."""
        if unlimited and self.config.method != GRID_SEARCH and not self._waiting():
            self._total = None
            self._study.enqueue_trial({})
        for frozen in self._waiting():
            if self._storage.set_trial_state_values(frozen._trial_id, self._optuna.trial.TrialState.RUNNING):
                return self._sample(frozen)
        return None

    def _waiting(self) -> list[Any]:
        found = self._all(self._optuna.trial.TrialState.WAITING)
        return [frozen for frozen in found if self._total is None or frozen.number < self._total]

    def _sample(self, frozen: Any) -> Trial:
        self._study.sampler = self._sampler(frozen.number)
        trial = self._optuna.trial.Trial(self._study, frozen._trial_id)
        for parameter in self._searched:
            _suggest(trial, parameter)
        return self._trial(self._storage.get_trial(frozen._trial_id))

    def _sampler(self, number: int) -> Any:
        # A sampler starts anew with each process: its seed must not, or a resumed sweep would repeat its trials.
        seed = random.SystemRandom().getrandbits(32)
        if self._seed is not None:
            seed = random.Random(f"{self._seed}:{number}").getrandbits(32)
        if self.config.method == GRID_SEARCH:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls this sampler experimental
                return self._optuna.samplers.PartialFixedSampler(
                    self._points[number], self._optuna.samplers.RandomSampler(seed=seed)
                )
        if self.config.method == BAYES:
            return self._optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        return self._optuna.samplers.RandomSampler(seed=seed)

    def _all(self, *states: Any) -> list[Any]:
        found: list[Any] = self._storage.get_all_trials(self._id, deepcopy=False, states=states or None)
        self._ids.update((frozen.number, frozen._trial_id) for frozen in found)
        return found

    def trials(self) -> list[Trial]:
        """All trials, by number."""
        found = [self._trial(frozen) for frozen in self._all()]
        return [one for one in found if one.status != WAITING or self._total is None or one.number < self._total]

    def _trial(self, frozen: Any) -> Trial:
        self._ids[frozen.number] = frozen._trial_id
        attributes = dict(frozen.user_attrs)
        state = frozen.state.name
        # The status is written before the state: a controller may have been killed in between.
        status = {"WAITING": WAITING, "RUNNING": RUNNING}.get(state) or attributes.get("status", FAILED)
        has_all = all(parameter.name in frozen.params for parameter in self._searched)
        values = {p.name: p.value(frozen.params.get(p.name, 0)) for p in self._parameters} if has_all else {}
        return Trial(
            frozen.number, status, values, attributes.get("metric"), attributes.get("reason", ""),
            dict(frozen.intermediate_values), attributes,
        )  # fmt: skip

    def note(self, trial: Trial, **attributes: Any) -> None:
        """Keep these attributes with a running trial."""
        trial.attributes.update(attributes)
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(self._ids[trial.number], name, value)

    def report(self, trial: Trial, band: int, value: float) -> None:
        """Keep the value of the metric that was logged as this many-th."""
        trial.at_bands[band] = value
        self._storage.set_trial_intermediate_value(self._ids[trial.number], band, value)

    def end(self, trial: Trial, status: str, metric: float | None, reason: str, others: Iterable[Trial]) -> bool:
        """End a trial, and tell the sampler. False if another controller has ended it."""
        state, value = self._told(status, metric, others)
        attributes = {"status": status, "reason": reason, "metric": metric}
        try:
            self.note(trial, **attributes)
            taken = self._storage.set_trial_state_values(self._ids[trial.number], state, value)
        except self._optuna.exceptions.UpdateFinishedTrialError:
            return False
        trial.status, trial.reason, trial.metric = status, reason, metric
        return bool(taken)

    def _told(self, status: str, metric: float | None, others: Iterable[Trial]) -> tuple[Any, list[float] | None]:
        states, objective = self._optuna.trial.TrialState, self.config.objective
        number = metric if metric is not None and math.isfinite(metric) else None
        if objective is None:
            return (states.COMPLETE, [0.0]) if status == FINISHED else (states.FAIL, None)
        if number is not None and status in {FINISHED, PRUNED}:
            return (states.COMPLETE if status == FINISHED else states.PRUNED), [number]
        known = [trial.metric for trial in others if trial.metric is not None]
        imputed = {"worst": objective.worst(known), "best": objective.best(known), "latest": number}[objective.impute]
        if imputed is None or self.config.method != BAYES:
            return states.FAIL, None
        return states.COMPLETE, [imputed]

    def importances(self) -> Mapping[str, float]:
        """How much of the metric's variation each parameter explains; empty if there are too few trials."""
        states = self._optuna.trial.TrialState
        ended = [frozen for frozen in self._all(states.COMPLETE) if frozen.params]
        if len(ended) < 4 or self.config.objective is None:
            return {}
        evaluator = self._optuna.importance.PedAnovaImportanceEvaluator(evaluate_on_local=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found: Mapping[str, float] = self._optuna.importance.get_param_importances(
                    self._study, evaluator=evaluator
                )
            except (ValueError, RuntimeError):  # all values are equal, or too few differ
                return {}
        return found


def _suggest(trial: Any, parameter: Parameter) -> None:
    low, high, kind = parameter.interval
    if kind == "index":
        trial.suggest_categorical(parameter.name, list(range(int(high) + 1)))
    elif kind == "integer":
        trial.suggest_int(parameter.name, int(low), int(high))
    else:
        trial.suggest_float(parameter.name, low, high)
