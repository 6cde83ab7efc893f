"""Base of the integrations for command lines and configuration files: parsed values become parameters of the run.

The wrappers run on the user's thread, once or a few times in a program. Parsers are built on one another, so only the
outermost one is recorded: `argparse` does not record again what `simple_parsing` has parsed. Nothing is parsed a second
time, and no default, help text or exit code of a parser changes.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any

from tracelet.capture.parameters import flatten
from tracelet.capture.record_size import split_values
from tracelet.guard import guard
from tracelet.integrations.base import Integration
from tracelet.integrations.patching import Function
from tracelet.journal.records import Params

OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
LIBRARIES = tuple({os.path.join(os.path.dirname(os.path.abspath(os.__file__)), ""), "<frozen"})
"""The folder of the standard library."""
INSTALLED = ("site-packages", "dist-packages")
"""Folders of installed modules, which are not the user's program."""
PARSER_WRAPPERS = "clearml.binding."
"""Modules that wrap the parsers of a program, which calls through them as soon as ClearML is imported."""


class _Inside(threading.local):
    parsing = False


_inside = _Inside()


class ParameterSource(Integration):
    """The base class of integrations that record parameters, with their own name as the source."""

    def tell(self, values: Any, source: str = "") -> None:
        """Record these values: a mapping, a namespace or a dataclass, nested or flat."""
        found = flatten(values)
        if found:
            for part in split_values(found):
                self.sink.emit(
                    Params(
                        time=time.time_ns() // 1000, values=part, source=source or self.name,
                        place=source or self.name,
                    )
                )  # fmt: skip

    def outermost(self, take: Callable[..., None]) -> Callable[[Function], Function]:
        """A wrapper that passes result and arguments to `take`, unless another parser is the caller."""

        def around(original: Function) -> Function:
            def parse(*args: Any, **kwargs: Any) -> Any:
                if _inside.parsing:
                    return original(*args, **kwargs)
                _inside.parsing = True
                try:
                    result = original(*args, **kwargs)
                finally:
                    _inside.parsing = False
                with guard(f"recording the parameters of {self.name}"):
                    take(result, *args, **kwargs)
                return result

            return parse

        return around


def from_program(arguments: Any, frame: FrameType | None = None) -> bool:
    """Whether these arguments are the command line's, or the program's own code parses them: libraries parse, too."""
    if arguments is None or list(arguments) == sys.argv[1:]:
        return True
    return is_program(frame or sys._getframe(2))


def is_program(frame: FrameType | None, through: Collection[str] = ()) -> bool:
    """Whether the nearest caller outside tracelet and the standard library is the user's program.

    `through`: names of modules that a program calls to get here.
    """
    while frame is not None:
        path, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__"))
        if module == "__main__":
            return True
        if module in through or module.startswith(PARSER_WRAPPERS):
            frame = frame.f_back
            continue
        installed = any(f"{os.sep}{folder}{os.sep}" in path for folder in INSTALLED)
        if not path.startswith(OURS) and (installed or not path.startswith(LIBRARIES)):
            return not installed
        frame = frame.f_back
    return False
