"""Runs that the commands are tested on, recorded by tracelet itself, and a way to call the commands."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tracelet
from tracelet.cli import main
from tracelet.store.run import Run

BARE = {f"track_{name}": False for name in ("lightning", "tensorboard", "system", "git", "env", "spans")}
"""Nothing but what the test logs."""

Record = Callable[..., Run]
Call = Callable[..., Result]


@pytest.fixture
def record() -> Record:
    """Record a run in the default store: `record("name", {"loss": [1.0, 0.5]}, params={...}, error=...)`."""

    def make(
        name: str, metrics: Mapping[str, list[float]] | None = None, error: BaseException | None = None, **given: Any
    ) -> Run:
        given.setdefault("config", {**BARE, "quiet": True})
        experiment = tracelet.start_logging(name, **given)
        for metric, values in (metrics or {}).items():
            for step, value in zip(itertools.count(), values):
                experiment.log_metric(metric, value, step)
        experiment.__exit__(type(error) if error else None, error, None)
        return tracelet.open_store().run(experiment.id)

    return make


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Call a command as `tracelet ARGUMENTS`; fails the test unless it ends with the exit code expected."""

    def make(*arguments: str, code: int = 0, **options: Any) -> Result:
        result = CliRunner(charset=options.pop("charset", "utf-8")).invoke(
            main, list(arguments), prog_name="tracelet", **options
        )
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return make
