"""Starts the recording that `tracelet run` requested, before the program's first line.

Called once by `tracelet/cli/autostart/sitecustomize.py` on the main thread of the process that `tracelet run` became,
or of a rank that a launcher started below it. Never raises: the program runs as it would without tracelet.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from typing import Any

from tracelet import guard
from tracelet.errors import TraceletError
from tracelet.journal.records import FAILED
from tracelet.session import active_session
from tracelet.session.start import start

ARGUMENTS = ("experiment_name", "project")
"""Settings that are separate arguments of `start_logging()`, outside `config`."""


def start_from_command_line(text: str) -> None:
    """Start recording with the options of `tracelet run`, as JSON: `given` by the user, else the `name`."""
    with guard.guard("starting the recording that `tracelet run` asked for"):
        options: dict[str, Any] = json.loads(text)
        given = options["given"]
        arguments = {key: given[key] for key in ARGUMENTS if key in given}
        arguments.setdefault("experiment_name", options["name"])
        config = {key: value for key, value in given.items() if key not in (*ARGUMENTS, "backend")}
        try:
            start(arguments, given.get("backend"), config, options["tags"], options.get("params"))
        except TraceletError as error:
            end = "" if str(error).endswith((".", "?")) else "."
            guard.say(f"{error}{end} The program runs, but is not recorded.")
            return
        active_session.allow_adoption(frozenset(given))
        target = _missing_target(sys.argv[:1], sys.orig_argv)
        if target:
            atexit.register(_report_missing, target)  # runs before the session's own, which was registered earlier


def _missing_target(program: list[str], command: list[str]) -> str:
    """The module or folder in which Python has not yet found a program. Empty for a script."""
    if program == ["-m"] and "-m" in command[:-1]:
        return f"module {command[command.index('-m') + 1]!r}"
    return f"folder {program[0]!r}" if program and os.path.isdir(program[0]) else ""


def _report_missing(target: str) -> None:
    """At exit: a module or a folder without a program leaves no exception, only an exit code."""
    if not hasattr(sys.modules.get("__main__"), "__file__"):
        active_session.expect_status(FAILED, f"Python found nothing to run in {target}")
