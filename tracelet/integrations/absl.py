"""The flags that a program defines with `absl.flags`, once `absl.app.run()` or the program has parsed them.

Called on the user's thread. absl and other libraries define flags too: of those it records only the ones given on the
command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.parameter_source import INSTALLED, ParameterSource
from tracelet.integrations.patching import Function, Patch


class AbslIntegration(ParameterSource):
    """Records the flags of the program."""

    name = "absl"

    def patches(self) -> Iterable[Patch]:
        """The call that parses a command line."""
        return [Patch("absl.flags._flagvalues", "FlagValues.__call__", self._around_call)]

    def _around_call(self, original: Function) -> Function:
        def __call__(flags: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(flags, *args, **kwargs)
            with guard("recording the parameters of absl"):
                if flags is getattr(sys.modules.get("absl.flags"), "FLAGS", None):
                    self._take(flags)
            return result

        return __call__

    def _take(self, values: Any) -> None:
        found = {}
        for module, flags in values.flags_by_module_dict().items():
            found.update({flag.name: flag.value for flag in flags if flag.present or not _is_library(module)})
        self.tell(found)


def _is_library(module: str) -> bool:
    path = str(getattr(sys.modules.get(module), "__file__", "") or "")
    return module.partition(".")[0] == "absl" or any(f"{os.sep}{folder}{os.sep}" in path for folder in INSTALLED)
