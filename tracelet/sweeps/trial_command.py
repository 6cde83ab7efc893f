"""The command line of a trial: the `command` of a configuration with its macros filled in.

The macros are those of wandb's agent. Nested parameters become flags with dots: `--optimizer.lr=0.1`. Of the process,
only `${envvar:NAME}` and `${interpreter}` are read.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tracelet.errors import SweepError
from tracelet.sweeps.config_checks import Checks, nearest

DEFAULT = ("${env}", "${interpreter}", "${program}", "${args}")
VARIABLE = re.compile(r"\$\{envvar:([A-Za-z0-9_]*)\}")
MACROS = (
    "env", "interpreter", "program", "args", "args_no_equals", "args_no_hyphens", "args_no_boolean_flags", "args_json",
    "args_json_file", "args_append_hydra", "args_override_hydra",
)  # fmt: skip
JSON_FILE = "args_json_file"


def check_command(checks: Checks, given: Any) -> tuple[str, ...]:
    """The `command` as strings; a string is split as a shell would. Empty if there is none."""
    if given is None:
        return ()
    if isinstance(given, str):
        given = shlex.split(given)
    if not isinstance(given, (list, tuple)) or not given:
        checks.problem(("command",), f"`command` must be a list of strings, not {given!r}. E.g. {list(DEFAULT)}")
        return ()
    words = []
    for index, item in enumerate(given):
        if isinstance(item, (list, tuple, Mapping)) or item is None:
            checks.problem(("command", index), f"an item of `command` must be a string, not {item!r}")
            continue
        word = str(item)
        macro = word[2:-1] if word.startswith("${") and word.endswith("}") else None
        if macro is not None and macro not in MACROS and not VARIABLE.search(word):
            checks.problem(("command", index), f"`{word}` is no macro of a command. {nearest(macro, MACROS)}")
        words.append(word)
    return tuple(words)


def flags(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """The arguments that each macro stands for, from the values by dotted name."""
    pairs = {name: f"{name}={value}" for name, value in values.items()}
    return {
        "args": [f"--{pair}" for pair in pairs.values()],
        "args_no_equals": [word for name, value in values.items() for word in (f"--{name}", str(value))],
        "args_no_hyphens": list(pairs.values()),
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{pairs[name]}" for name, value in values.items() if value is not False
        ],
        "args_append_hydra": [f"+{pair}" for pair in pairs.values()],
        "args_override_hydra": [f"++{pair}" for pair in pairs.values()],
    }


def fill_command(
    command: Sequence[str], program: str, values: Mapping[str, Any], nested: Mapping[str, Any], json_file: str
) -> list[str]:
    """The command line of a trial. `json_file`: where the caller writes `nested`, if the command asks for the file."""
    if any("${program}" in word for word in command or DEFAULT) and not program:
        raise SweepError("the sweep has no `program`. Add `program: train.py`, or a `command` without ${program}")
    macros = {
        **flags(values), "env": ["/usr/bin/env"], "interpreter": [sys.executable], "program": [program],
        "args_json": [json.dumps(nested)], JSON_FILE: [json_file],
    }  # fmt: skip
    words = []
    for word in command or DEFAULT:
        # An unset variable leaves its own name, as in wandb.
        filled = VARIABLE.sub(lambda found: os.environ.get(found[1], found[1]), word)
        whole = filled[2:-1] if filled.startswith("${") and filled.endswith("}") else None
        words += macros.get(whole or "", [filled])
    return words


def wants_json_file(command: Sequence[str]) -> bool:
    """Whether the command passes the parameters in a file."""
    return f"${{{JSON_FILE}}}" in command
