"""Ranks that hold up the others, from span tables that are made up: who, in which phase, how much, since when."""

from __future__ import annotations

import random

import pytest

from tests.unit.telemetry.reading.test_time_analysis import Made, said, table
from tracelet.telemetry import names
from tracelet.telemetry.reading.process_times import Straggle
from tracelet.telemetry.reading.time_analysis import analyse

COUNT = 40
USUAL = {
    names.DATA_LOADING: 2.0, names.BATCH_TRANSFER: 1.0, names.MODEL_FORWARD: 20.0, names.MODEL_BACKWARD: 8.0,
    names.OPTIMIZER_UPDATE: 2.0, names.CALLBACKS: 1.0,
}  # fmt: skip
BETWEEN = {names.VALIDATION_LOOP: "validation", names.CHECKPOINT_SAVE_SYNC: "checkpoints"}
PHASES = {
    names.DATA_LOADING: "loading", names.BATCH_TRANSFER: "transfer", names.MODEL_FORWARD: "forward",
    names.MODEL_BACKWARD: "backward", names.OPTIMIZER_UPDATE: "optimizer", names.CALLBACKS: "callbacks", **BETWEEN,
}  # fmt: skip


def trained(ranks: int, culprit: int, phase: str, extra: dict[int, float], noise: float = 0.0) -> list[list[Straggle]]:
    """What is found in a training whose ranks meet in every backward pass; `extra`: milliseconds by iteration."""
    chance = random.Random(1)
    lasting = 35 * COUNT + sum(extra.values()) + 100
    made = [Made() for _ in range(ranks)]
    loops = [one.add(names.TRAINING_LOOP, 50, lasting, one.add(names.APPLICATION, 0, lasting + 100)) for one in made]
    moments = [60.0] * ranks
    for number in range(COUNT):
        lengths = [{name: ms * (1 + chance.uniform(0, noise)) for name, ms in USUAL.items()} for _ in made]
        if phase in USUAL:
            lengths[culprit][phase] += extra.get(number, 0.0)
        before = (names.DATA_LOADING, names.BATCH_TRANSFER, names.MODEL_FORWARD, names.MODEL_BACKWARD)
        arrivals = [moment + sum(length[name] for name in before) for moment, length in zip(moments, lengths)]
        together = max(arrivals) + 0.2
        for rank, one in enumerate(made):
            wait = together - arrivals[rank]
            phases = {**lengths[rank], names.MODEL_BACKWARD: lengths[rank][names.MODEL_BACKWARD] + wait}
            moments[rank] = one.iteration(loops[rank], moments[rank], **phases)
            one.add(names.COLLECTIVE_WAIT, arrivals[rank], wait, loops[rank])
            if phase in BETWEEN and rank == culprit and number in extra:
                one.add(phase, moments[rank], extra[number], loops[rank])
                moments[rank] += extra[number]
    return [times.straggles for times in analyse(table(*made))]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("ranks", "culprit"), [(2, 0), (2, 1), (4, 2)])
def test_who_and_where(phase: str, ranks: int, culprit: int) -> None:
    """A rank that takes 30 ms longer in every iteration, or 2 s longer once, is found in each phase."""
    always = trained(ranks, culprit, phase, dict.fromkeys(range(COUNT), 30.0), noise=0.1)
    once = trained(ranks, culprit, phase, {20: 2000.0}, noise=0.1)
    for rank in range(ranks):
        assert [one.phase for one in always[rank]] == ([PHASES[phase]] if rank == culprit else [])
        assert [one.phase for one in once[rank]] == ([PHASES[phase]] if rank == culprit else [])
    (lasting,) = always[culprit]
    assert lasting.lasting and lasting.first <= 1 and lasting.seconds == pytest.approx(30e-3 * COUNT, rel=0.1)
    (single,) = once[culprit]
    assert (single.lasting, single.first, single.iterations) == (False, 20, 1)
    assert single.seconds == pytest.approx(2.0, rel=0.01) and single.waited == pytest.approx(2.0, rel=0.02)


def test_since_when() -> None:
    """A rank that becomes slower is found with the iteration in which that began."""
    (_, (found,)) = trained(2, 1, names.MODEL_FORWARD, dict.fromkeys(range(25, COUNT), 30.0), noise=0.1)
    assert found.first == 25 and found.iterations == COUNT - 25 and found.seconds == pytest.approx(0.45, rel=0.1)


def test_noise_is_nothing() -> None:
    """Ranks that differ by chance are not told apart."""
    for ranks in (1, 2, 4):
        assert trained(ranks, 0, names.MODEL_FORWARD, {}, noise=0.5) == [[]] * ranks


def test_work_that_nobody_waits_for() -> None:
    """A rank that takes longer is none that holds up others where these do not wait."""
    made = [Made(), Made()]
    for one, forward in zip(made, (20.0, 60.0)):
        loop = one.add(names.TRAINING_LOOP, 50, 4000, one.add(names.APPLICATION, 0, 5000))
        moment = 60.0
        for _ in range(COUNT):
            moment = one.iteration(loop, moment, **{**USUAL, names.MODEL_FORWARD: forward})
    assert [times.straggles for times in analyse(table(*made))] == [[], []]


def test_the_first_finding_names_it() -> None:
    """The sentence says which rank, in which phase, how much and since when, before all others."""
    made = [Made(), Made()]
    for one, loading, wait in zip(made, (2.0, 62.0), (60.0, 0.0)):
        loop = one.add(names.TRAINING_LOOP, 50, 4000, one.add(names.APPLICATION, 0, 5000))
        moment = 60.0
        for _ in range(COUNT):
            phases = {**USUAL, names.DATA_LOADING: loading, names.MODEL_BACKWARD: 8.0 + wait}
            after = one.iteration(loop, moment, **phases)
            one.add(names.COLLECTIVE_WAIT, after - 3.0 - wait, wait, loop)
            moment = after
    first, second = said(analyse(table(*made)))[:2]
    assert first == (
        "Rank 1 holds up the other ranks: it takes 60.0 ms longer in data loading in every iteration, 2.3 s total. "
        "The others waited 2.34 s on average."
    )
    assert "of rank 1 is spent waiting for data" in second
