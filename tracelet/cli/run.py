"""`tracelet run SCRIPT ...`: becomes the plain interpreter on the program, and starts recording before its first line.

It does not run the program; the program replaces it (`execve`): `sys.argv`, `__name__`, tracebacks, exit code, signals,
standard input and pickling are Python's own. Two environment variables pass on the options, which
`cli/autostart/sitecustomize.py` reads.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from tracelet import registry, settings
from tracelet.capture.autostart_environment import NO_PROCESS, autostart_environment
from tracelet.cli.options import store_option
from tracelet.errors import SettingsError
from tracelet.session import backend_arguments
from tracelet.store.store import Store

LAUNCHERS = frozenset({"torch.distributed.run", "torch.distributed.launch", "accelerate.commands.launch"})
"""Programs that only start the ranks: the ranks are recorded, the launcher is not."""
WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
"""Options of the interpreter whose value may be a separate argument."""
UNWANTED = "EIPs"
"""Options that disable PYTHONPATH (-E, -I), or that installers put into the shebang of the command `tracelet` for its
own sake (-P, -s). -S is removed too, because it disables `site` and therefore the recording.
"""


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("-m", "is_module", is_flag=True, help="Run TARGET as a module, like python -m.")
@click.option("--name", "experiment_name", help="Name of the run (default: the name of the script).")
@click.option("--project", help="Project of the run (default: the setting `project`).")
@click.option("--backend", "backends", multiple=True, metavar="NAME", help="Deliver to this backend (repeatable).")
@click.option("--tag", "tags", multiple=True, metavar="NAME[=VALUE]", help="Add a tag to the run (repeatable).")
@click.option("--explain", is_flag=True, help="Print at the end what was found, patched and recorded.")
@click.option("--config", "config", multiple=True, metavar="KEY=VALUE", help="Set a setting (repeatable).")
@store_option
@click.argument("target")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(
    ctx: click.Context, store: Store, is_module: bool, explain: bool, experiment_name: str | None, project: str | None,
    backends: tuple[str, ...], tags: tuple[str, ...], config: tuple[str, ...], target: str, arguments: tuple[str, ...],
) -> None:  # fmt: skip
    """Run a script or module and record it, without changing its code.

    \b
    tracelet run train.py --lr 0.1
    tracelet run -m package.train --lr 0.1
    tracelet run -m torch.distributed.run --nproc-per-node 2 train.py

    Options of tracelet come before TARGET; everything after it is passed to the program. The program runs in the
    Python interpreter that tracelet is installed in. Options given here take precedence over the arguments of
    start_logging() in the script.
    """  # noqa: D301  (click knows a real backspace alone: keep these lines as they are)
    given = key_values(config, "--config")
    if explain:
        given["explain"] = "true"
    asked = {"experiment_name": experiment_name, "project": project, "backend": ",".join(backends)}
    given.update({key: value for key, value in asked.items() if value})
    if ctx.get_parameter_source("store") is click.core.ParameterSource.COMMANDLINE:
        given["dir"] = str(store.root)
    settled = settings.load(config=given)
    if settled.enabled:
        registry.validated_backends(
            backend_arguments.parse(settled.backend, settled.tables)
        )  # now, and not after hours of training
    if not is_module:
        _check_script(target)
    is_launcher = is_module and target in LAUNCHERS
    name = settled.experiment_name or ("" if is_launcher else _name(target, is_module))
    options = {"given": given, "name": name, "tags": key_values(tags, "--tag", without="true")}
    program = ["-m", target] if is_module else [target]
    process = NO_PROCESS if is_launcher else str(os.getpid())
    _become([*interpreter_options(sys.orig_argv), *program, *arguments], options, process)


def key_values(texts: Sequence[str], option: str, without: str | None = None) -> dict[str, str]:
    """KEY=VALUE strings as a table; `without` is the value of a key without one."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or (not equals and without is None):
            raise click.UsageError(f"{option} {text!r} is not of the form KEY=VALUE. Type: {option} KEY=VALUE")
        found[key] = value if equals else without or ""
    return found


def _check_script(target: str) -> None:
    if target == "-" or Path(target).exists():
        return
    hint = "Name a file, or a module with -m: tracelet run -m package.module"
    if Path(target).name == "torchrun":
        hint = "Type instead: tracelet run -m torch.distributed.run ..."
    elif shutil.which(target):
        hint = f"{target!r} is a program; tracelet records only Python scripts and modules. {hint}"
    raise SettingsError(f"file {target!r} not found in {Path.cwd()}. {hint}")


def _name(target: str, is_module: bool) -> str:
    return target.rpartition(".")[2] if is_module else Path(target).absolute().stem.removesuffix(".") or "python"


def interpreter_options(command: Sequence[str]) -> list[str]:
    """The interpreter's own options on the command line of `tracelet`, without those that would prevent the
    recording.
    """
    kept: list[str] = []
    rest = iter(command[1:])
    for word in rest:
        if word in WITH_VALUE:
            kept += [word, next(rest, "")]
        elif word.startswith(("-W", "-X", "--check-hash-based-pycs")):
            kept.append(word)
        elif not word.startswith("-") or word.startswith(("-m", "-c", "--")) or word == "-":
            break
        else:
            letters = "".join(letter for letter in word[1:] if letter not in UNWANTED + "S")
            letters = letters.removesuffix("m")  # -um tracelet: the module's name is the next argument
            kept += [f"-{letters}"] if letters else []
    return kept


def _become(arguments: list[str], options: dict[str, Any], process: str) -> NoReturn:
    environment = autostart_environment(options, process)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606 - becoming the program is the point
