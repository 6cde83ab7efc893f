"""The command line that a program parses with `argparse`, in one call or in several.

Called on the user's thread after a parser has returned. `parse_args()` and the intermixed variants all end in
`parse_known_args()`. It ignores parsers that a library uses internally (Hydra, a notebook's magic commands), and
records those that a library offers to programs, such as `HfArgumentParser`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tracelet.integrations.parameter_source import ParameterSource, is_program
from tracelet.integrations.patching import Patch


class ArgparseIntegration(ParameterSource):
    """Records the namespace that a parser returns."""

    name = "argparse"

    def patches(self) -> Iterable[Patch]:
        """The methods that complete the parsing."""
        parser = "ArgumentParser.parse_known_"
        return [
            Patch("argparse", f"{parser}args", self.outermost(self._take)),
            Patch("argparse", f"{parser}intermixed_args", self.outermost(self._take)),
        ]

    def _take(self, result: Any, parser: Any, *_: Any, **__: Any) -> None:
        if is_program(sys._getframe(2), {kind.__module__ for kind in type(parser).__mro__}):
            self.tell(result[0])
