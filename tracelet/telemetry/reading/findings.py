"""Findings: the meaning of a run's times, in plain sentences, each with its evidence.

Pure; used by `tracelet time` and the dashboard. A finding says only what was measured; it names a cause only if the
numbers show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracelet.journal.records import RUNNING
from tracelet.telemetry.names import CHECKPOINT_LOAD, DATA_LOADER_INIT, DIST_INIT, MODEL_INIT, OPTIMIZER_INIT
from tracelet.telemetry.reading.attribution import IN_TRAINING
from tracelet.telemetry.reading.process_times import ProcessTimes, Straggle

MIN_SHARE = 0.1
"""Minimum share of the time for a finding; below, there is little to gain."""
SHORTEST = 1.0
"""Seconds of training below which shares mean nothing."""
SLOWER = 1.2
"""One fifth more is a difference that is not noise."""
WORDS = {
    "loading": "waiting for data", "transfer": "copying batches to the device", "forward": "forward",
    "backward": "backward", "optimizer": "the optimizer", "callbacks": "callbacks", "logging": "logging metrics",
    "collective_wait": "waiting for other ranks", "checkpoints": "checkpoints",
    "other": "code between the phases",
}  # fmt: skip
PHASES = {"loading": "data loading", "transfer": "the transfer of batches", "logging": "metric logging"}
"""Those words that a sentence about a phase needs differently."""
LIMITS = {"callbacks": MIN_SHARE, "logging": MIN_SHARE, "transfer": MIN_SHARE, "optimizer": 0.4}
"""The share of the training loop from which these are a finding; optimizers of small models take a quarter of it."""

BEGINNINGS = {
    MODEL_INIT: "creating models", DATA_LOADER_INIT: "creating data loaders", OPTIMIZER_INIT: "creating optimizers",
    DIST_INIT: "initializing the process group", CHECKPOINT_LOAD: "loading checkpoints",
}  # fmt: skip
MAJORITY = 0.5
"""What takes half of a part is named."""


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing, the part of the training that it is about, and how many seconds it is worth."""

    about: str
    text: str
    seconds: float


def findings(
    processes: Sequence[ProcessTimes], params: Mapping[str, Any], environment: Mapping[str, Any]
) -> list[Finding]:
    """All findings: ranks that hold up the others first, then what else the training loses, the costliest first."""
    if not processes:
        return []
    trained = [times for times in processes if times.iterations]
    lead = (trained or processes)[0]  # one that trains nothing has launched those that do
    held_up = _stragglers(trained)
    found: list[Finding] = []
    if lead.training >= SHORTEST:
        # All ranks wait for the one that waits longest for its data.
        waiting = max(trained, key=lambda times: times.parts.get("loading", 0.0), default=lead)
        found += _loading(waiting, params, environment, len({times.rank for times in trained}) > 1)
        for part, limit in LIMITS.items():
            if lead.share_of_training(part) >= limit:
                found.append(_share(lead, part, WORDS[part]))
        found += _evaluations(lead) + _trend(lead)
        if not held_up:
            found += _slow(lead)
    rest = _initialization(lead) + _unexplained(lead)
    return held_up + _costliest_first(found) + _costliest_first(rest) + _open(processes)


def _costliest_first(found: list[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: -finding.seconds)


def largest_part(times: ProcessTimes) -> str:
    """What a training spends most of its time in, for a run without findings; empty if unknown."""
    part = max(IN_TRAINING, key=lambda part: times.parts.get(part, 0.0))
    share = times.share_of_training(part)
    return f"{share:.0%} of the training loop is {WORDS[part]}" if share else ""


def _share(times: ProcessTimes, part: str, what: str) -> Finding:
    seconds = times.parts[part]
    text = f"{times.share_of_training(part):.0%} of the training loop is spent in {what} ({seconds:.1f} s)"
    name, most = times.most_of(part)
    text += f", {most:.1f} s of it in {name}." if most >= MAJORITY * seconds else "."
    return Finding(part, text, seconds)


def _loading(
    times: ProcessTimes, params: Mapping[str, Any], environment: Mapping[str, Any], several: bool
) -> list[Finding]:
    share = times.share_of_training("loading")
    if share < MIN_SHARE:
        return []
    text = (
        f"{share:.0%} of the training loop"
        + (f" of rank {times.rank}" if several else "")
        + " is spent waiting for data"
    )
    workers = params.get("data/train/workers")
    machine = environment.get("machine") or {}
    cores = machine.get("cpu_usable") or machine.get("cpu_count")
    if isinstance(workers, int) and cores:
        noun = "worker" if workers == 1 else "workers"
        text += f"; the data loader uses {workers} {noun} on {cores} cores"
    return [Finding("loading", text + ".", times.parts["loading"])]


def _evaluations(times: ProcessTimes) -> list[Finding]:
    found = []
    limits = ("validation", "validation", 0.25), ("checkpoints", "saving and loading checkpoints", 0.05)
    for part, what, limit in limits:
        share = times.share_of_training(part)
        if share >= limit:
            seconds = times.parts[part]
            text = f"{what[0].upper()}{what[1:]} takes {seconds:.1f} s, or {share:.0%} of the time in training loops"
            name, most = times.most_of(part)
            text += f"; {most:.1f} s of it is waiting for data." if name and most >= MAJORITY * seconds else "."
            found.append(Finding(part, text, seconds))
    return found


def _slow(times: ProcessTimes) -> list[Finding]:
    if not times.slow_count or times.slow_seconds < 0.02 * times.training:
        return []
    worst = next(slow for slow in times.slowest if slow.number)
    text = (
        f"{times.slow_count} of {times.iterations} iterations took more than five times the median of "
        f"{times.median * 1e3:.1f} ms, {times.slow_seconds:.1f} s total; the slowest is iteration {worst.number} with "
        f"{worst.seconds:.2f} s, {worst.phase_seconds:.2f} s of it {WORDS.get(worst.phase, worst.phase)}."
    )
    return [Finding("slow iterations", text, times.slow_seconds)]


def _trend(times: ProcessTimes) -> list[Finding]:
    before, after = times.first_third.get("iteration", 0.0), times.last_third.get("iteration", 0.0)
    if not before or after < SLOWER * before:
        return []
    grown = {name: times.last_third[name] - times.first_third[name] for name in IN_TRAINING if name in times.last_third}
    worst = max(grown, key=lambda name: grown[name], default="")
    if times.usual_growth < MAJORITY * (after - before):
        return []  # a few slow ones, which are told as such
    text = f"Iterations slowed down: {before * 1e3:.1f} ms in the first third, {after * 1e3:.1f} ms in the last"
    if worst and grown[worst] > 0:
        text += f"; the main cause is {WORDS.get(worst, worst)} (+{grown[worst] * 1e3:.1f} ms)"
    return [Finding("trend", text + ".", (after - before) * times.iterations / 3)]


def _stragglers(processes: Sequence[ProcessTimes]) -> list[Finding]:
    """Ranks that the others wait for, the costliest first."""
    found = [
        Finding("stragglers", _straggle_text(times, straggle), straggle.seconds)
        for times in processes
        for straggle in times.straggles
    ]
    return _costliest_first(found)


def _straggle_text(times: ProcessTimes, straggle: Straggle) -> str:
    phase = PHASES.get(straggle.phase) or WORDS.get(straggle.phase, straggle.phase)
    each = straggle.seconds / max(1, straggle.iterations)
    if straggle.lasting:
        since = "" if straggle.first <= 1 else f" since iteration {straggle.first}"
        how = f"{each * 1e3:.1f} ms longer in {phase} in every iteration{since}, {straggle.seconds:.1f} s total"
    elif straggle.iterations == 1:
        how = f"{straggle.seconds:.2f} s longer in {phase}, once, in iteration {straggle.first}"
    else:
        count = f"{straggle.iterations} of {times.iterations} iterations, first in iteration {straggle.first}"
        how = f"{straggle.seconds:.2f} s longer in {phase}, in {count}"
    return (
        f"Rank {times.rank} holds up the other ranks: it takes {how}. The others waited {straggle.waited:.2f} s "
        "on average."
    )


def _initialization(times: ProcessTimes) -> list[Finding]:
    seconds = times.parts.get("initialization", 0.0)
    # A launcher that starts many processes takes its time, and nobody can change it.
    joining = times.within.get("initialization", {}).get(DIST_INIT, 0.0)
    long = seconds - joining >= 10 * SHORTEST or joining >= 60 * SHORTEST
    if times.share("initialization") < 2 * MIN_SHARE or not long:
        return []
    text = f"Initialization took {seconds:.0f} s: models, data loaders, optimizers"
    name, most = times.most_of("initialization")
    if most >= MAJORITY * seconds:
        text = f"Initialization took {seconds:.0f} s, {most:.0f} s of it {BEGINNINGS.get(name, name)}"
    text += "."
    return [Finding("initialization", text, seconds)]


def _unexplained(times: ProcessTimes) -> list[Finding]:
    """No category and no span of the program's own: time that nothing explains."""
    seconds = sum(times.within.get("other", {}).values())
    if times.total < SHORTEST or seconds < MAJORITY * times.total:
        return []
    where, most = times.most_of("other")
    text = (
        f"{seconds / times.total:.0%} of the time ({seconds:.1f} s) is not in any span, {most:.1f} s of it {where}. "
        "To see what happens there, add spans: with tracelet.span('name'):"
    )
    return [Finding("other", text, seconds)]


def _open(processes: Sequence[ProcessTimes]) -> list[Finding]:
    """What a process that ended without a word was doing. One that is running is still doing it."""
    return [
        Finding("end", f"Rank {times.rank} ended while it was in {' > '.join(times.open)}.", 0.0)
        for times in processes
        if times.open and times.status != RUNNING
    ]
