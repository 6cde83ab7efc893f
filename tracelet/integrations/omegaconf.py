"""The configuration that a program builds with OmegaConf: a file, the command line, and the two merged.

Called on the user's thread. Libraries use OmegaConf too, so it records only what the program's own code loads, and what
the program merges with it.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable
from typing import Any

from tracelet.capture.omegaconf_values import plain_values
from tracelet.integrations.parameter_source import ParameterSource, from_program, is_program
from tracelet.integrations.patching import Patch


class OmegaconfIntegration(ParameterSource):
    """Records configurations from a file or the command line, and the result of merging them."""

    name = "omegaconf"

    def patches(self) -> Iterable[Patch]:
        """The functions that read and merge configurations."""
        self._read: list[weakref.ref[Any]] = []
        module, merged = "omegaconf.omegaconf", self.outermost(self._take_merged)
        return [
            Patch(module, "OmegaConf.from_cli", self.outermost(self._take_line)),
            Patch(module, "OmegaConf.load", self.outermost(self._take_file)),
            Patch(module, "OmegaConf.merge", merged),
            Patch(module, "OmegaConf.unsafe_merge", merged, optional=True),
        ]

    def _take_line(self, result: Any, args_list: Any = None) -> None:
        if from_program(args_list, sys._getframe(2)):
            self._take(result)

    def _take_file(self, result: Any, *_: Any, **__: Any) -> None:
        if is_program(sys._getframe(2)):
            self._take(result)

    def _take_merged(self, result: Any, *configs: Any, **__: Any) -> None:
        known = [found for found in (reference() for reference in self._read) if found is not None]
        if any(one is config for one in known for config in configs):
            self._take(result)

    def _take(self, config: Any) -> None:
        self._read = [reference for reference in self._read if reference() is not None] + [weakref.ref(config)]
        if hasattr(config, "_get_node") and hasattr(config, "keys"):
            self.tell(plain_values(config))
