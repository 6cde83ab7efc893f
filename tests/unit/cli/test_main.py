"""The command line as a whole: help, errors, pipes, encodings, and what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from tracelet.cli import COMMANDS, main
from tracelet.store.run import Run

Record = Callable[..., Run]
Call = Callable[..., Result]

ALL = [name for name in COMMANDS if name not in ("run", "demo")]
HEAVY = ("torch", "lightning", "pandas", "pyarrow", "wandb", "mlflow")


def tracelet(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """`tracelet ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "tracelet", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(call: Call, name: str) -> None:
    """--help and -h say what the command does and that it takes --dir."""
    output = call(name, "--help").output
    assert output == call(name, "-h").output
    assert "--dir FOLDER" in output
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert f"  {name} " in call("--help").output
    assert command.get_short_help_str(limit=1000).rstrip(".") in " ".join(output.split())


def test_the_help_cuts_no_sentence(call: Call) -> None:
    """Every command is listed with its whole first sentence, however narrow the terminal is."""
    assert "..." not in call("--help", env={"COLUMNS": "60"}).output.partition("Commands:")[2]


def test_commands_have_the_names_that_people_try(record: Record, call: Call) -> None:
    """`list` is `ls` and `delete` is `rm`."""
    run = record("a")
    assert run.id in call("list").output
    call("delete", "-y", "a")
    assert "no runs" in call("list").stderr


def test_a_shell_can_complete_commands(call: Call) -> None:
    """click's completion script of bash is there, and knows the commands."""
    assert "complete" in call(env={"_TRACELET_COMPLETE": "bash_source"}).output
    words = {"_TRACELET_COMPLETE": "bash_complete", "COMP_WORDS": "tracelet com", "COMP_CWORD": "1"}
    assert call(env=words).output.split() == ["plain,compare"]


def test_an_unknown_command_is_answered(call: Call) -> None:
    """A misspelt command and a script in its place are told what to type."""
    assert "'show'" in call("shwo", code=2).stderr
    assert "tracelet run train.py" in call("train.py", code=2).stderr


def test_a_store_that_is_a_file_is_an_error(call: Call, tmp_path: Path) -> None:
    """The error is one line with what to type, exit code 2."""
    (tmp_path / "file").write_text("")
    result = call("ls", "--dir", "file", code=2)
    assert result.stderr.startswith("tracelet: ")
    assert result.stderr.count("\n") == 1


def test_dir_chooses_the_store(record: Record, call: Call, tmp_path: Path) -> None:
    """--dir before TRACELET_DIR before `.tracelet` here."""
    run = record("here")
    assert call("ls", "--dir", str(tmp_path / "other")).stdout == ""
    assert call("ls", env={"TRACELET_DIR": str(tmp_path / "other")}).stdout == ""
    assert run.id in call("ls", "--dir", ".tracelet", env={"TRACELET_DIR": str(tmp_path / "other")}).stdout


def test_a_closed_pipe_is_silent(record: Record) -> None:
    """`tracelet export ... | head -1` ends without a word on stderr."""
    record("long", {"x": [float(n) for n in range(30_000)]})
    writer = subprocess.Popen(
        [sys.executable, "-m", "tracelet", "export", "long"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stderr is not None
    with writer:
        assert writer.stdout.readline() == b"metric,step,value,time,epoch,stage,fit\n"
        writer.stdout.close()
        assert writer.stderr.read() == b""


def test_pipes_get_no_colours_and_whole_lines(record: Record) -> None:
    """Into a pipe there are neither escapes nor cut names, even if the terminal is said to be narrow."""
    record("a-name-that-is-longer-than-any-narrow-terminal-would-show-it", {"a" * 70: [1.0], "b" * 70: [2.0]})
    environment = {key: text for key, text in os.environ.items() if key != "COLUMNS"}
    done = tracelet("ls", env=environment)
    assert b"\x1b" not in done.stdout
    assert b"a-name-that-is-longer-than-any-narrow-terminal-would-show-it" in done.stdout
    assert done.stdout.count(b"\n") == 2


def test_other_encodings_are_no_error(record: Record) -> None:
    """A name that the terminal's encoding lacks is shown with question marks."""
    record("größe-模型", {"x": [1.0, 2.0]})
    done = tracelet("show", "latest", env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"gr??e-??")


@pytest.mark.parametrize("arguments", [["--help"], ["ls"], ["run", "--help"], ["rm", "--help"]])
def test_nothing_heavy_is_imported(record: Record, arguments: list[str]) -> None:
    """Commands load neither torch, Lightning, pandas nor an SDK; help and lists not even numpy."""
    record("run")
    code = (
        "import sys; from tracelet.cli import main; main(sys.argv[1:], standalone_mode=False); "
        f"print([name for name in {(*HEAVY, 'numpy')!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"
