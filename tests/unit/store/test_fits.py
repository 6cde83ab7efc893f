"""The fits of a run: whatever a program does, no fit has a value, a parameter or a checkpoint of another one."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracelet
from tests.journals import started
from tracelet import guard
from tracelet.capture.writer import Writer
from tracelet.errors import RunNotFound
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import FINISHED, Artifact, Started, Status
from tracelet.session.experiment import Experiment
from tracelet.session.fit_block import FitBlock
from tracelet.store.run import Run

NAMES = ("lr", "momentum", "betas")


def program(folder: Path, attempt: int = 0) -> Experiment:
    """A run that is being recorded, in this process and without a session."""
    folder.mkdir(parents=True, exist_ok=True)
    journal = JournalWriter.create(folder / f"rank-0.{attempt}.tlj", bytes)
    writer = Writer(journal, started(attempt=attempt, run=folder.name, by_fit=True))
    writer.start()
    return Experiment(writer.started, folder, writer, lambda **_: None)


def end(experiment: Experiment, sealed: bool = True) -> Run:
    """The run as it is read afterwards."""
    writer = experiment.sink
    assert isinstance(writer, Writer)
    if sealed:
        writer.close(Status(time=5, status=FINISHED))
    else:
        writer.flush()
    run = Run(experiment.folder)
    if not sealed:
        writer.close(Status(time=5, status=FINISHED))
    return run


def fit(experiment: Experiment, **params: Any) -> FitBlock:
    """A fit of the program's own."""
    return FitBlock(experiment.sink, params)


def test_each_fit_has_its_own_facts(tmp_path: Path) -> None:
    """Parameters, metrics, checkpoints, status and reason belong to the fit in which they were recorded."""
    experiment = program(tmp_path / "folds")
    experiment.log_params({"data": "digits"})
    for fold, loss in enumerate((0.2, 0.9)):
        with contextlib.suppress(ValueError), fit(experiment, fold=fold):
            for step in range(3):
                experiment.log_metric("loss", loss + step, step=step)
                experiment.log_metrics({"accuracy": step / 10})
            metadata = {"monitor": "loss", "mode": "min", "score": loss, "best": True}
            experiment.sink.emit(
                Artifact(time=1, name="best.ckpt", path=f"/{fold}/best", kind="checkpoint", metadata=metadata)
            )
            raise ValueError("diverged")
    experiment.log_metric("mean", 0.5)
    run = end(experiment)
    first, second = run.fits
    assert (first.params, second.params) == ({"data": "digits", "fold": 0}, {"data": "digits", "fold": 1})
    assert run.params == {"data": "digits"}
    assert (first.summary("loss").min, second.summary("loss").min) == (0.2, 0.9)
    assert first.series("loss").values.tolist() == [0.2, 1.2, 2.2]
    assert second.series("accuracy").steps.tolist() == [0, 1, 2], "steps count from 0 in each fit"
    assert first.metrics() == ["accuracy", "loss"]
    assert [fit.best_checkpoint.path for fit in run.fits if fit.best_checkpoint] == ["/0/best", "/1/best"]
    assert (first.status, first.reason) == ("failed", "ValueError: diverged")
    assert [fit.name for fit in run.fits] == ["folds:1", "folds:2"]
    with pytest.raises(KeyError, match="fit 2 of run folds has no metric 'mean'"):
        second.series("mean")
    with pytest.raises(RunNotFound, match="has no fit 3"):
        run.fit(3)


def test_a_run_of_one_fit_is_that_fit(tmp_path: Path) -> None:
    """A run with one fit, or without any, is read as before, and is its only fit."""
    experiment = program(tmp_path / "one")
    experiment.log_params({"lr": 0.1})
    with fit(experiment, fold=0):
        experiment.log_metric("loss", 1.0)
    experiment.log_metric("score", 2.0)
    run = end(experiment)
    (only,) = run.fits
    assert only.whole
    assert only.params == run.params == {"lr": 0.1, "fold": 0}
    assert only.metrics() == run.metrics() == ["loss", "score"]
    assert (only.name, only.status) == ("one", "finished")


def test_a_journal_from_before_is_one_fit(tmp_path: Path) -> None:
    """A journal that does not say which fit its records belong to is read as one fit."""
    experiment = program(tmp_path / "old")
    experiment.sink.started = Started(run="old", name="old", project="p", time=1, host="h", pid=1)  # type: ignore[union-attr]
    for _ in range(2):
        with fit(experiment, lr=0.1):
            experiment.log_metric("loss", 1.0)
    experiment.sink.emit(Started(run="old", name="old", project="p", time=1, host="h", pid=1))
    run = end(experiment)
    assert len(run.fits) == 1
    assert run.params == {"lr": 0.1}


def test_a_statement_that_runs_again_replaces_what_it_said(tmp_path: Path) -> None:
    """The momentum of one trial does not stand beside the betas of the next; what was said for all stays."""
    experiment = program(tmp_path / "trials")
    experiment.log_params({"data": "digits", "lr": 1.0})
    for trial in ({"lr": 0.1, "momentum": 0.9}, {"lr": 0.01, "betas": "b"}):
        experiment.log_params(trial)
        with fit(experiment):
            experiment.log_metric("loss", trial["lr"])
    run = end(experiment)
    assert [one.params for one in run.fits] == [
        {"data": "digits", "lr": 0.1, "momentum": 0.9}, {"data": "digits", "lr": 0.01, "betas": "b"},
    ]  # fmt: skip
    assert run.params == {"data": "digits"}


def test_a_library_inside_a_block_is_the_same_fit(tmp_path: Path) -> None:
    """The first training of a library in a block of the program is that block's fit; a second one is a fit of its own
    with the block's parameters.
    """
    from tracelet.integrations.fits import Fits

    experiment = program(tmp_path / "nested")
    library = Fits(experiment.sink, "library")
    with fit(experiment, fold=1) as block:
        for rate in (0.1, 0.2):
            with library.fit("fit", (), dict):
                experiment.log_params({"lr": rate})
    run = end(experiment)
    assert block.number == 1
    assert [one.params for one in run.fits] == [{"fold": 1, "lr": 0.1}, {"fold": 1, "lr": 0.2}]


def test_an_evaluation_belongs_to_what_was_fitted(tmp_path: Path) -> None:
    """By the model, or by the checkpoint that it loads; one of an unknown model belongs to no fit."""
    from tracelet.integrations.fits import Fits

    class Model:
        pass

    experiment, models = program(tmp_path / "tests"), [Model(), Model()]
    library = Fits(experiment.sink, "library")
    for model in models:
        with library.fit("fit", (model,), dict):
            experiment.log_metric("loss", 1.0)
    for model in (*models, Model()):
        with library.fit("test", (model,), dict) as evaluation:
            experiment.log_metric("accuracy", float(evaluation.number))
    run = end(experiment)
    assert [one.series("accuracy").values.tolist() for one in run.fits] == [[1.0], [2.0]]
    assert run.series("accuracy").fits.tolist() == [1, 2, 0]
    assert [one.evaluations[0]["kind"] for one in run.fits] == ["test", "test"]


@dataclass
class Expected:
    """What the model of the property test says of one fit."""

    params: dict[str, Any]
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(("fit", "test", "say")),
        st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3), max_size=3),
        st.integers(0, 3),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS, sealed=st.booleans())
def test_no_fit_has_anything_of_another(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, dict[str, int], int]], sealed: bool
) -> None:
    """Over any sequence of fits, tests and parameters, each fit has what was said for it, and its own values."""
    from tracelet.integrations.fits import Fits

    class Model:
        pass

    guard.reset()
    experiment = program(tmp_path_factory.mktemp("any") / "run")
    library = Fits(experiment.sink, "library")
    said: dict[str, int] = {}
    used = False
    models: list[Model] = []
    expected: list[Expected] = []
    for kind, params, number in actions:
        if kind == "say" and params:
            experiment.log_params(params)  # one statement: it replaces what it said before the last fit
            said = params if used else {**said, **params}
            used = False
        elif kind == "fit":
            models.append(Model())
            expected.append(Expected({**said, **params}, [float(len(expected) * 10 + n) for n in range(number)]))
            used = True
            with library.fit("fit", (models[-1],), dict):
                if params:
                    experiment.log_params(params)
                for value in expected[-1].losses:
                    experiment.log_metric("loss", value)
        elif kind == "test" and models:
            chosen = number % len(models)
            with library.fit("test", (models[chosen],), dict):
                experiment.log_metric("score", float(chosen))
            expected[chosen].scores.append(float(chosen))
    run = end(experiment, sealed)
    if len(expected) < 2:
        assert len(run.fits) == 1
        return
    found = [
        Expected(
            one.params, *([*one.series(name).values] if name in one.metrics() else [] for name in ("loss", "score"))
        )
        for one in run.fits
    ]
    assert found == expected
    common = set.intersection(*(set(one.params.items()) for one in expected))
    assert common <= set(run.params.items())


def test_the_store_finds_a_fit_by_its_name(tmp_path: Path) -> None:
    """`RUN:2` is the second fit of a run; RUN alone is a fit only if the run has one."""
    experiment = program(tmp_path / "runs" / "folds")
    for fold in range(2):
        with fit(experiment, fold=fold):
            pass
    end(experiment)
    store = tracelet.open_store(tmp_path)
    assert store.fit("folds:2").params == {"fold": 1}
    with pytest.raises(RunNotFound, match="has 2 fits. Name one of them"):
        store.fit("folds")


def test_a_filter_never_pairs_two_fits(tmp_path: Path) -> None:
    """A run matches as a whole or by one of its fits, never by a parameter of one and a value of another."""
    from tracelet.store.filtering import namespace
    from tracelet.store.fit_filtering import fit_namespaces, select
    from tracelet.store.search import Search

    experiment = program(tmp_path / "runs" / "rates")
    for rate, loss in ((0.1, 0.2), (0.01, 0.9)):
        with fit(experiment, lr=rate):
            experiment.log_metric("loss", loss)
    run = end(experiment)
    names = namespace(run)
    fits = fit_namespaces(run, names)

    def matched(expression: str) -> list[int]:
        return [
            found.get("fit", 0)
            for _, matching in select([(run, names, fits)], Search(expression))
            for found in matching
        ]

    assert matched("lr > 0.05 and loss < 0.5") == [1]
    assert matched("lr < 0.05 and loss < 0.5") == []
    assert matched("lr < 0.05 or loss > 0.5") == [0], "the last value of the run"
    assert matched('lr == 0.01 and min["loss"] < 0.5') == []
    assert matched('status == "finished"') == [0]
    store = tracelet.open_store(tmp_path)
    assert [found.id for found in store.matching("lr > 0.05 and loss < 0.5")] == [run.id]
    assert store.matching("lr < 0.05 and loss < 0.5") == []


def test_backends_get_the_parameters_of_each_fit_under_its_own_names() -> None:
    """One table for the run would show the last fit's value beside the first fit's metrics."""
    from tracelet.journal.records import Params
    from tracelet.store.fit_params import delivered

    assert [delivered(Params(time=1, values={"lr": 0.1}, fit=number)) for number in (0, 1, 2)] == [
        {"lr": 0.1}, {"lr": 0.1}, {"fit/2/lr": 0.1},
    ]  # fmt: skip
