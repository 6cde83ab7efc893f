"""`tracelet run`, as far as it goes before it becomes the program."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import Result

from tracelet.cli.run import interpreter_options

Call = Callable[..., Result]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (["python", "/bin/tracelet", "run", "-O", "x"], []),
        (["python", "-O", "-X", "dev", "-m", "tracelet", "run", "-X", "x"], ["-O", "-X", "dev"]),
        (["python", "-Werror", "-W", "ignore::X", "-um", "tracelet"], ["-Werror", "-W", "ignore::X", "-u"]),
        (["python3", "-sP", "/usr/bin/tracelet", "run"], []),
        (["python3", "-EBd", "-Xutf8", "-I", "-S", "-m", "tracelet"], ["-Bd", "-Xutf8"]),
        (["python3", "--check-hash-based-pycs", "never", "-mtracelet"], ["--check-hash-based-pycs", "never"]),
        (["python3"], []),
    ],
)
def test_the_interpreters_options_are_kept(command: list[str], options: list[str]) -> None:
    """Options of the Python that runs `tracelet` are handed on, those that would shut us out are not."""
    assert interpreter_options(command) == options


def test_the_help_shows_a_command_a_line(call: Call) -> None:
    """The examples stand below one another, with no sign of how they were written."""
    lines = [line.strip() for line in call("run", "--help").output.splitlines()]
    assert "tracelet run train.py --lr 0.1" in lines
    assert "tracelet run -m package.train --lr 0.1" in lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.py"], "file 'missing.py' not found"),
        (["torchrun", "x.py"], "torch.distributed.run"),
        (["ls"], "is a program"),
        (["--config", "track_systm=no", "x.py"], "track_system"),
        (["--config", "nothing", "x.py"], "KEY=VALUE"),
        (["--config", "metrics_interval=-1", "x.py"], "metrics_interval"),
        (["--backend", "mlfow", "missing.py"], "Did you mean 'mlflow'?"),
        (["--backend", "jsonl,nowhere", "missing.py"], "no backend 'nowhere'"),
        ([], "TARGET"),
    ],
)
def test_mistakes_are_said_before_anything_starts(call: Call, arguments: list[str], said: str) -> None:
    """A missing script or an impossible setting is an error with exit code 2 that says the fix."""
    assert said in call("run", *arguments, code=2).stderr
