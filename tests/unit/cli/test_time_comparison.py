"""`tracelet time A B`: which phase got slower, what is noise, and which runs are refused."""

from __future__ import annotations

import json
import random

import pytest
from click.testing import CliRunner, Result

import tracelet
from tracelet import telemetry
from tracelet.cli import main

SETTINGS = {
    "track_git": False, "track_env": False, "track_lightning": False, "track_system": False, "delivery": "off",
    "quiet": True,
}  # fmt: skip
BEGIN = 1_700_000_000_000
MS = 1_000_000


def record(name: str, forward: float, iterations: int = 60, batch: int = 8) -> None:
    """A run with iterations of 10 ms of loading and a forward pass, give or take a fifth of it."""
    from tracelet.telemetry.recording import active_recorder

    chance = random.Random(name)
    with tracelet.start_logging(name, config=SETTINGS):
        recorder = active_recorder.recorder()
        assert recorder is not None
        with telemetry.training_loop() as loop:
            moment = recorder.now_ns()
            for _ in range(iterations):
                duration = int(forward * MS * chance.uniform(0.8, 1.2))
                step = recorder.add("training_single_iteration", moment, 10 * MS + duration, loop.id)
                recorder.add("data_loading", moment, 10 * MS, step)
                recorder.add("model_forward", moment + 10 * MS, duration, step)
                moment += 10 * MS + duration
            telemetry.configure(global_batch_size=batch)
            with telemetry.training_iteration():
                pass


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["time", *arguments])


def test_which_phase_got_slower() -> None:
    """The slower phase is named with its change; noise and what stayed are no difference; the limit gives the code."""
    record("base", 20.0)
    record("again", 20.0)
    record("slow", 30.0)
    same = invoke("base", "again", "--max-regression", "5%")
    assert same.exit_code == 0 and "slower" not in same.output and "no difference" in same.output
    worse = invoke("base", "slow", "--max-regression", "5%")
    assert worse.exit_code == 1 and "Iterations are slower by more than 5.0%." in worse.output
    assert [line.split()[-1] for line in worse.output.splitlines() if line.startswith(("forward", "iteration"))] == [
        "slower", "slower",
    ]  # fmt: skip
    assert invoke("base", "slow", "--max-regression", "0.9").exit_code == 0
    assert invoke("slow", "base", "--max-regression", "5%").exit_code == 0
    found = json.loads(invoke("base", "slow", "--json").output)
    phases = {phase["phase"]: phase for phase in found["phases"]}
    assert phases["forward"]["significant"] and not phases["loading"]["significant"] and not found["failed"]
    assert phases["forward"]["change"] == pytest.approx(0.5, abs=0.1)


def test_runs_that_cannot_be_compared() -> None:
    """Too few iterations and another batch size are reasons; a limit needs a second run and has to be a share."""
    record("base", 1.0)
    record("short", 1.0, iterations=4)
    record("larger", 1.0, batch=16)
    assert "cannot be compared: no process has the 11 training iterations" in invoke("base", "short").output
    assert "one has 8 samples in an iteration, the other 16" in invoke("base", "larger").output
    assert "needs a second run" in invoke("base", "--max-regression", "5%").output
    assert "is not a share such as 5% or 0.05" in invoke("base", "base", "--max-regression", "much").output
